//! Speculation changes nothing but the number of passes.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the other tests use all of it")]
mod mock;

use jielong_core::{
    Draft, Event, Guess, Lookup, Model, ModelError, Request, Sampler, SamplerConfig, Speculation, State, Token,
    generate,
};
use mock::{Mock, Tape};
use proptest::prelude::*;

fn tokens(ids: &[u32]) -> Vec<Token> {
    ids.iter().map(|&id| Token(id)).collect()
}

/// Knows the answer, and is wrong at every `wrong`-th token of it.
struct Prophet {
    whole: Vec<Token>,
    wrong: usize,
}

impl Guess for Prophet {
    fn guess(&mut self, history: &[Token], count: usize) -> Result<Vec<Token>, ModelError> {
        let at = history.len();
        let spoil = |(i, token): (usize, &Token)| if (i + 1) % self.wrong == 0 { Token(token.0 ^ 1) } else { *token };
        Ok(self.whole.iter().enumerate().map(spoil).skip(at).take(count).collect())
    }
}

fn run(
    model: &Mock,
    config: &SamplerConfig,
    request: Request,
    guess: Option<(&mut dyn Guess, usize)>,
) -> (Vec<Event>, Tape, Speculation) {
    let mut state = model.new_state().unwrap();
    let mut sampler = Sampler::new(config.clone(), model.vocab_size()).unwrap();
    let mut generation = generate(model, &mut state, &mut sampler, request);
    if let Some((guess, count)) = guess {
        generation = generation.with_guess(guess, count);
    }
    let events = generation.by_ref().map(|event| event.unwrap()).collect();
    let speculation = generation.speculation();
    drop(generation);
    (events, state, speculation)
}

fn answer(events: &[Event]) -> Vec<Token> {
    events.iter().filter_map(|event| if let Event::Token(step) = event { Some(step.token) } else { None }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_and_state_are_those_without_it(
        seed: u64, prompt in prop::collection::vec(0u32..12, 1..8), max in 0usize..20, context in 8usize..30,
        wrong in 1usize..6, count in 0usize..7, greedy: bool, end in prop::option::of(0u32..12), top in 0usize..3,
    ) {
        let model = Mock::new(12, context);
        let prompt = tokens(&prompt);
        let config = SamplerConfig {
            temperature: if greedy { 0.0 } else { 0.9 },
            top_k: Some(7),
            repetition_penalty: Some(1.3),
            frequency_penalty: Some(0.4),
            no_repeat_ngram: Some(3),
            seed: Some(seed >> 12),
            ..SamplerConfig::default()
        };
        let ends: Vec<Token> = end.map(Token).into_iter().collect();
        let request = Request { max_new_tokens: max, end_tokens: &ends, top, ..Request::new(&prompt) };
        let (events, state, _) = run(&model, &config, request, None);
        let whole: Vec<Token> = prompt.iter().copied().chain(answer(&events)).collect();

        let mut prophet = Prophet { whole: whole.clone(), wrong };
        let (guessed, held, speculation) = run(&model, &config, request, Some((&mut prophet, count)));
        prop_assert_eq!(&guessed, &events);
        prop_assert_eq!(&held, &state);
        prop_assert!(speculation.accepted <= speculation.proposed);
        // Every token after the first was read in a pass or was a guess that came true; the last one is not read.
        prop_assert_eq!(speculation.passes + speculation.accepted, answer(&events).len().saturating_sub(1));

        let (looked, held, _) = run(&model, &config, request, Some((&mut Lookup { longest: 3, shortest: 1 }, count)));
        prop_assert_eq!((&looked, &held), (&events, &state));
        for small in [Mock::new(12, context), Mock::new(12, 5), Mock::new(7, 40)] {
            let mut draft = Draft::new(&small).unwrap();
            let (drafted, held, _) = run(&model, &config, request, Some((&mut draft, count)));
            prop_assert_eq!((&drafted, &held), (&events, &state));
        }
    }
}

#[test]
fn a_perfect_draft_is_always_accepted() {
    let model = Mock::new(50, 200);
    let config = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
    let prompt = tokens(&[1, 2, 3]);
    let request = Request { max_new_tokens: 101, ..Request::new(&prompt) };
    let twin = Mock::new(50, 200);
    let (_, _, speculation) = run(&model, &config, request, Some((&mut Draft::new(&twin).unwrap(), 4)));
    assert_eq!(speculation, Speculation { proposed: 80, accepted: 80, passes: 20 });
}

#[test]
fn chance_decides_as_often_as_it_should() {
    // With the same seed the answer is the same, so over many seeds the frequencies are; a guess accepted more often than
    // the model wants it would show here.
    let model = Mock::new(5, 30);
    let prompt = tokens(&[4]);
    let mut counts = [[0u32; 5]; 2];
    for seed in 0..2000 {
        let config = SamplerConfig { seed: Some(seed), ..SamplerConfig::default() };
        let request = Request { max_new_tokens: 3, ..Request::new(&prompt) };
        let twin = Mock::new(5, 30);
        let mut draft = Draft::new(&twin).unwrap();
        for (guess, counts) in [None, Some((&mut draft as &mut dyn Guess, 2))].into_iter().zip(&mut counts) {
            let (events, _, _) = run(&model, &config, request, guess);
            counts[answer(&events)[2].index()] += 1;
        }
    }
    assert_eq!(counts[0], counts[1]);
    assert!(counts[0].iter().filter(|count| **count > 0).count() > 1);
}

#[test]
fn whoever_stops_in_the_middle_finds_the_state_at_what_was_handed_out() {
    let model = Mock::new(12, 100);
    let config = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
    let prompt = tokens(&[3, 1]);
    let request = Request { max_new_tokens: 20, ..Request::new(&prompt) };
    let (events, _, _) = run(&model, &config, request, None);
    let whole: Vec<Token> = prompt.iter().copied().chain(answer(&events)).collect();
    for handed_out in 1..12 {
        let mut state = model.new_state().unwrap();
        let mut sampler = Sampler::new(config.clone(), 12).unwrap();
        let mut prophet = Prophet { whole: whole.clone(), wrong: 100 };
        let generation = generate(&model, &mut state, &mut sampler, request).with_guess(&mut prophet, 6);
        let seen = generation.filter(|event| matches!(event, Ok(Event::Token(_)))).take(handed_out).count();
        assert_eq!(seen, handed_out);
        assert_eq!(state.0, whole[..prompt.len() + handed_out - 1]);
    }
}

#[test]
fn an_error_among_guesses_comes_when_its_token_does() {
    let mut model = Mock::new(12, 100);
    model.spoil = |tape, row| {
        if tape.len() == 6 {
            row.fill(f32::NAN)
        }
    };
    let config = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
    let prompt = tokens(&[3, 1]);
    let request = Request { max_new_tokens: 20, ..Request::new(&prompt) };
    let plain = |guess: Option<&mut dyn Guess>| {
        let mut state = model.new_state().unwrap();
        let mut sampler = Sampler::new(config.clone(), 12).unwrap();
        let mut generation = generate(&model, &mut state, &mut sampler, request);
        if let Some(guess) = guess {
            generation = generation.with_guess(guess, 5);
        }
        let events: Vec<_> = generation.by_ref().collect();
        drop(generation);
        (events, state.len())
    };
    let (events, _) = plain(None);
    let whole: Vec<Token> = prompt
        .iter()
        .copied()
        .chain(events.iter().filter_map(|e| if let Ok(Event::Token(step)) = e { Some(step.token) } else { None }))
        .chain(tokens(&[0, 0, 0]))
        .collect();
    let (guessed, _) = plain(Some(&mut Prophet { whole, wrong: 100 }));
    assert_eq!(guessed, events);
    assert!(events.last().unwrap().is_err());
}

#[test]
fn lookup_finds_the_latest_and_the_longest() {
    let mut lookup = Lookup { longest: 3, shortest: 1 };
    let mut guess = |ids: &[u32], count| lookup.guess(&tokens(ids), count).unwrap();
    assert_eq!(guess(&[1, 2, 3, 9, 1, 2, 3], 2), tokens(&[9, 1]));
    assert_eq!(guess(&[2, 3, 8, 7, 3, 5, 2, 3], 9), tokens(&[8, 7, 3, 5, 2, 3]));
    assert_eq!(guess(&[3, 8, 3, 5, 3], 1), tokens(&[5]));
    assert_eq!(guess(&[7, 7, 7], 3), tokens(&[7]));
    assert_eq!(guess(&[1, 2, 3], 3), tokens(&[]));
    assert_eq!(guess(&[1], 3), tokens(&[]));
}
