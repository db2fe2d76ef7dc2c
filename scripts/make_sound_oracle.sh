#!/bin/sh
# Small sound files in the formats that jielong reads: a tone in `tone.wav`, and the same through encoders of others. Needs
# ffmpeg with libmp3lame, libvorbis and libopus. Usage: scripts/make_sound_oracle.sh [folder]
set -eu
to="${1:-$(dirname "$0")/../tests/oracle/sounds}"
mkdir -p "$to"
run() { ffmpeg -hide_banner -loglevel error -y -fflags +bitexact "$@"; }
bare="-metadata_header_padding 32 -flags:a +bitexact -map_metadata -1"

# 0.24 s at 16 kHz: 440 Hz and its octave, with a slope, so that a shift or a turned sign shows.
run -f lavfi -i "aevalsrc=exprs=(0.2+t)*(0.8*sin(2*PI*440*t)+0.4*sin(2*PI*880*t)):s=16000:d=0.24" \
    $bare -c:a pcm_s16le "$to/tone.wav"
run -i "$to/tone.wav" $bare -c:a flac "$to/tone.flac"
run -i "$to/tone.wav" $bare -c:a libmp3lame -b:a 64k -metadata title=tone "$to/tone.mp3"
run -i "$to/tone.wav" $bare -c:a libvorbis -q:a 5 "$to/tone.ogg"
run -i "$to/tone.wav" $bare -c:a flac -f ogg "$to/tone.oga"
run -i "$to/tone.wav" $bare -c:a libopus -b:a 24k "$to/tone.opus"
# Two channels of 24 bits, the second of half the level: their mean is 3/4 of the tone.
run -i "$to/tone.wav" $bare -af "aformat=sample_fmts=flt,pan=stereo|c0=c0|c1=0.5*c0" -c:a flac -sample_fmt s32 -bits_per_raw_sample 24 \
    "$to/stereo24.flac"
