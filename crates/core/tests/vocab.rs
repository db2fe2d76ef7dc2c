//! One id space: its layout, segments as tokens and back, and that what is generated under the machine can always be decoded.

#![allow(clippy::unwrap_used)]

mod mock;

use std::sync::atomic::AtomicBool;

use jielong_core::{
    Event, Guided, KindConfig, Lookup, Machine, Model, Request, Sampler, SamplerConfig, Segment, State, StopReason,
    Token, Vocab, VocabConfig, VocabError, generate,
};
use mock::Mock;
use proptest::prelude::*;

fn kind(name: &str) -> KindConfig {
    KindConfig { name: name.into(), ..KindConfig::default() }
}

/// Text of 5, a picture of one book of 7, sound of two books, letters; grids up to 4 × 4.
fn config() -> VocabConfig {
    VocabConfig {
        begin: "<|begin|>".into(),
        end: "<|end|>".into(),
        sizes: 4,
        kinds: vec![
            KindConfig { text: Some(5), ..kind("text") },
            KindConfig { books: Some(vec![7]), grid: true, ..kind("image") },
            KindConfig { books: Some(vec![3, 4]), ..kind("audio") },
            KindConfig { symbols: Some(["A", "C", "AC", "我"].map(String::from).to_vec()), ..kind("letters") },
        ],
    }
}

fn vocab() -> Vocab {
    Vocab::new(config()).unwrap()
}

/// The same with free text.
fn free() -> Vocab {
    let mut config = config();
    config.kinds[0].free = true;
    Vocab::new(config).unwrap()
}

#[test]
fn ids_are_laid_out_in_order() {
    let vocab = vocab();
    assert_eq!((vocab.begin(), vocab.end()), (Token(5), Token(6)));
    let marks: Vec<_> = vocab.kinds().iter().map(|kind| kind.marks.unwrap().0.0).collect();
    assert_eq!(marks, [11, 13, 22, 31]);
    let books: Vec<_> = vocab.kinds().iter().flat_map(|kind| kind.books.clone()).collect();
    assert_eq!(books, [0..5, 15..22, 24..27, 27..31, 33..37]);
    let names: Vec<String> = vocab.added().collect();
    assert_eq!(vocab.size(), 37);
    assert_eq!(names.len(), 32);
    for (id, name) in [
        (5, "<|begin|>"),
        (6, "<|end|>"),
        (7, "<|1|>"),
        (11, "<|text|>"),
        (12, "<|/text|>"),
        (15, "<|image:0|>"),
        (27, "<|audio.1:0|>"),
        (36, "<|letters:我|>"),
    ] {
        assert_eq!(names[id - 5], name);
    }
    // One more kind moves nothing.
    let mut more = config();
    more.kinds.push(KindConfig { books: Some(vec![9]), ..kind("more") });
    let more: Vec<String> = Vocab::new(more).unwrap().added().collect();
    assert_eq!(more[..32], names);
}

#[test]
fn configs_that_contradict_themselves_are_named() {
    let field = |change: &dyn Fn(&mut VocabConfig)| {
        let mut config = config();
        change(&mut config);
        match Vocab::new(config) {
            Err(VocabError::Config { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(&|c| c.kinds.clear()), "kind");
    assert_eq!(field(&|c| c.kinds.swap(0, 1)), "kind[1].text");
    assert_eq!(field(&|c| c.sizes = 0), "sizes");
    assert_eq!(field(&|c| c.begin.clear()), "begin");
    assert_eq!(field(&|c| c.kinds[1].name = "text".into()), "kind[1].name");
    assert_eq!(field(&|c| c.kinds[1].name = "a b".into()), "kind[1].name");
    assert_eq!(field(&|c| c.kinds[1].books = Some(vec![0])), "kind[1].books");
    assert_eq!(field(&|c| c.kinds[1].books = Some(vec![u32::MAX; 3])), "kind[1].books");
    assert_eq!(field(&|c| c.kinds[1].books = None), "kind[1].name");
    assert_eq!(field(&|c| c.kinds[1].free = true), "kind[1].free");
    assert_eq!(field(&|c| c.kinds[0].grid = true), "kind[0].grid");
    assert_eq!(field(&|c| c.kinds[3].symbols = Some(vec![String::new()])), "kind[3].symbols");
    assert_eq!(field(&|c| c.kinds[3].symbols = Some(vec!["A".into(), "A".into()])), "kind");
    assert!(matches!(vocab().kind("video"), Err(VocabError::NoKind { known, .. }) if known.len() == 4));
}

#[test]
fn symbols_are_texts() {
    let vocab = vocab();
    let letters = &vocab.kinds()[3];
    assert_eq!(letters.codes_of("AACC我").unwrap(), [0, 2, 1, 3]);
    assert_eq!(letters.text_of(&[0, 2, 1, 3, 9]), "AACC我");
    assert!(matches!(letters.codes_of("A我G"), Err(VocabError::Symbol { at: 4, .. })));
}

#[test]
fn what_cannot_be_framed_is_refused() {
    let vocab = vocab();
    let frame = |kind, grid: &[usize], values: &[u32]| {
        vocab.frame(&Segment { kind, grid: grid.to_vec(), values: values.to_vec() })
    };
    assert!(matches!(frame(1, &[1, 5], &[0; 5]), Err(VocabError::Grid { .. })));
    assert!(matches!(frame(1, &[2], &[0; 2]), Err(VocabError::Grid { .. })));
    assert!(matches!(frame(1, &[1, 2], &[0]), Err(VocabError::Grid { .. })));
    assert!(matches!(frame(1, &[1, 2], &[0, 7]), Err(VocabError::Code { place: 1, code: 7, size: 7, .. })));
    assert!(matches!(frame(2, &[1], &[0, 4]), Err(VocabError::Code { place: 0, code: 4, .. })));
    let picture: Vec<u32> = frame(1, &[1, 2], &[3, 4]).unwrap().iter().map(|token| token.0).collect();
    assert_eq!(picture, [13, 7, 8, 18, 19, 14]);
}

fn segment() -> impl Strategy<Value = Segment> {
    let codes = |kind: usize, sizes: &'static [u32]| {
        prop::collection::vec(any::<u32>(), 0..6 * sizes.len()).prop_map(move |values| {
            let len = values.len() / sizes.len() * sizes.len();
            let values = values[..len].iter().enumerate().map(|(at, v)| v % sizes[at % sizes.len()]).collect();
            Segment::open(kind, sizes.len(), values)
        })
    };
    let picture = (1usize..5, 1usize..5, any::<u64>()).prop_map(|(rows, columns, seed)| {
        let values = (0..rows * columns).map(|at| (seed.rotate_left(at as u32) % 7) as u32).collect();
        Segment { kind: 1, grid: vec![rows, columns], values }
    });
    prop_oneof![codes(0, &[5]), picture, codes(2, &[3, 4]), codes(3, &[4])]
}

proptest! {
    #[test]
    fn framed_and_split_is_the_same(segments in prop::collection::vec(segment(), 0..5)) {
        let vocab = vocab();
        let mut tokens = vec![vocab.begin()];
        for segment in &segments {
            tokens.extend(vocab.frame(segment).unwrap());
        }
        tokens.push(vocab.end());
        prop_assert_eq!(vocab.split(&tokens), segments);
        let machine = Machine::after(&vocab, &tokens).unwrap();
        prop_assert_eq!(machine.allowed(9).count(), 0);
    }

    /// Whatever the logits are, wherever a limit or a cancel falls: all but the last segment is whole, the last can be filled
    /// up, and a generation that ended by itself is whole in all its parts.
    #[test]
    fn what_is_generated_can_be_decoded(
        seed in any::<u64>(), free_text in any::<bool>(), opening in 0usize..5, limit in 0usize..60, context in 12usize..60,
        cancel in prop::option::of(0usize..30), guesses in any::<bool>(), greedy in any::<bool>(),
    ) {
        let vocab = if free_text { free() } else { vocab() };
        let model = Mock::new(vocab.size(), context);
        let mut prompt = vec![vocab.begin()];
        match opening {
            0..4 => prompt.extend(vocab.opening(opening, &[]).unwrap()),
            _ => prompt.extend(vocab.opening(1, &[2, 3]).unwrap()),
        }
        let machine = Machine::after(&vocab, &prompt).unwrap();
        let config = SamplerConfig { temperature: if greedy { 0.0 } else { 1.0 }, seed: Some(seed), ..SamplerConfig::default() };
        let mut sampler = Sampler::new(config, vocab.size()).unwrap();
        let mut state = model.new_state().unwrap();
        let stop = AtomicBool::new(false);
        let end = [vocab.end()];
        let request = Request { max_new_tokens: limit, end_tokens: &end, cancel: Some(&stop), ..Request::new(&prompt) };
        let mut lookup = Lookup::default();
        let mut generation = generate(&model, &mut state, &mut sampler, request).with_machine(machine);
        if guesses {
            generation = generation.with_guess(&mut lookup, 3);
        }
        let mut tokens = prompt.clone();
        let mut reason = None;
        for event in generation {
            match event.unwrap() {
                Event::Token(step) => {
                    tokens.push(step.token);
                    prop_assert!(step.logprob <= 0.0 && step.logprob.is_finite());
                }
                Event::End(end) => reason = Some(end),
                Event::Prefill { .. } => {}
            }
            if Some(tokens.len() - prompt.len()) == cancel {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        prop_assert!(Machine::after(&vocab, &tokens).is_ok());
        let segments = vocab.split(&tokens);
        let whole = |segment: &Segment| {
            segment.grid.iter().product::<usize>() * vocab.kinds()[segment.kind].frame() == segment.values.len()
        };
        let (last, before) = segments.split_last().map_or((None, &[][..]), |(last, before)| (Some(last), before));
        prop_assert!(before.iter().all(whole));
        let filled = last.map(|last| last.clone().filled(&vec![0; vocab.kinds()[last.kind].frame()]));
        for segment in before.iter().chain(&filled) {
            prop_assert!(vocab.frame(segment).is_ok(), "{segment:?}");
        }
        if let Some(StopReason::EndToken(_)) = reason {
            prop_assert!(segments.iter().all(whole));
        }
        // With room for the shortest way out and nobody cancelling, only a grid whose size was given can be cut off.
        let room = limit.min(context + 1 - prompt.len());
        if cancel.is_none() && opening != 4 && room >= 5 {
            prop_assert!(segments.iter().all(whole), "{segments:?} {reason:?}");
        }
    }

    /// One guided by 1 is the model itself, and the state of a guided one forgets what is taken back.
    #[test]
    fn guided_by_one_is_the_model_itself(seed in any::<u64>(), prompt in prop::collection::vec(0u32..20, 1..8), chunk in 1usize..9) {
        let model = Mock::new(20, 40);
        let prompt: Vec<Token> = prompt.into_iter().map(Token).collect();
        let run = |scale: f32, other: Vec<Token>| {
            let guided = Guided::new(&model, scale, prompt.len(), other);
            let mut state = guided.new_state().unwrap();
            let config = SamplerConfig { seed: Some(seed), ..SamplerConfig::default() };
            let mut sampler = Sampler::new(config, 20).unwrap();
            let request = Request { max_new_tokens: 12, chunk, ..Request::new(&prompt) };
            let tokens: Vec<Token> = generate(&guided, &mut state, &mut sampler, request)
                .filter_map(|event| match event.unwrap() { Event::Token(step) => Some(step.token), _ => None })
                .collect();
            // Taken back to any place and fed again, the logits are those of a fresh state.
            let all: Vec<Token> = prompt.iter().chain(&tokens).copied().collect();
            for keep in 0..all.len() {
                state.truncate(keep);
                let again = guided.next(&all[state.len()..], &mut state).unwrap();
                let fresh = guided.next(&all, &mut guided.new_state().unwrap()).unwrap();
                assert_eq!(again, fresh);
            }
            tokens
        };
        let config = SamplerConfig { seed: Some(seed), ..SamplerConfig::default() };
        let mut sampler = Sampler::new(config, 20).unwrap();
        let mut state = model.new_state().unwrap();
        let request = Request { max_new_tokens: 12, ..Request::new(&prompt) };
        let plain: Vec<Token> = generate(&model, &mut state, &mut sampler, request)
            .filter_map(|event| match event.unwrap() { Event::Token(step) => Some(step.token), _ => None })
            .collect();
        prop_assert_eq!(&run(1.0, vec![Token(3), Token(4)]), &plain);
        // Away from the prompt itself, any scale changes nothing.
        prop_assert_eq!(&run(7.0, prompt.clone()), &plain);
    }
}
