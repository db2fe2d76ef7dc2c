//! The loop, driven by a model whose logits depend on every token it was fed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mock;

use std::sync::atomic::{AtomicBool, Ordering};

use jielong_core::{
    Event, GenerateError, Model, ModelError, Request, SampleError, Sampler, SamplerConfig, State, Step, StopReason,
    Token, generate,
};
use mock::{Mock, Tape};
use proptest::prelude::*;

fn prompt(len: u32) -> Vec<Token> {
    (0..len).map(|at| Token(at * 7 % 30)).collect()
}

fn sampler(seed: u64) -> Sampler {
    let config = SamplerConfig { seed: Some(seed), ..SamplerConfig::default() };
    Sampler::new(config, 30).unwrap()
}

fn greedy(suppress: &[u32]) -> Sampler {
    let suppress = suppress.iter().copied().map(Token).collect();
    Sampler::new(SamplerConfig { temperature: 0.0, suppress, ..SamplerConfig::default() }, 30).unwrap()
}

fn run(model: &Mock, state: &mut Tape, sampler: &mut Sampler, request: Request) -> (Vec<Step>, StopReason) {
    let mut steps = Vec::new();
    for event in generate(model, state, sampler, request) {
        match event.unwrap() {
            Event::Prefill { done, total } => assert!(done <= total && steps.is_empty()),
            Event::Token(step) => steps.push(step),
            Event::End(reason) => return (steps, reason),
        }
    }
    panic!("no End");
}

fn fails(model: &Mock, state: &mut Tape, request: Request) -> GenerateError {
    let mut sampler = greedy(&[]);
    let mut generation = generate(model, state, &mut sampler, request);
    let error = generation.find_map(Result::err).expect("an error");
    assert!(generation.next().is_none() && generation.next().is_none(), "fused");
    error
}

fn ids(steps: &[Step]) -> Vec<Token> {
    steps.iter().map(|step| step.token).collect()
}

proptest! {
    #[test]
    fn chunked_is_whole_and_reused_is_fed_anew(
        len in 1u32..40, chunk in 0usize..50, reused in 0usize..41, seed: u64, new in 1usize..20,
    ) {
        let model = Mock::new(30, 100);
        let prompt = prompt(len);
        let request = Request { max_new_tokens: new, top: 3, ..Request::new(&prompt) };
        let mut state = Tape::default();
        let expected = run(&model, &mut state, &mut sampler(seed), request);
        prop_assert_eq!(expected.0.len(), new);
        prop_assert_eq!(model.fed(), prompt.len() + new - 1);

        let reused = reused.min(prompt.len());
        let mut warm = Tape(prompt[..reused].to_vec());
        let model = Mock::new(30, 100);
        let found = run(&model, &mut warm, &mut sampler(seed), Request { chunk, ..request });
        prop_assert_eq!(found, expected);
        prop_assert_eq!(warm, state);
        let fed = prompt.len() - reused.min(prompt.len() - 1);
        prop_assert_eq!(model.fed(), fed + new - 1, "only what the state did not hold is fed");
        prop_assert!(model.calls.borrow().iter().all(|call| *call <= chunk.max(1)));
    }
}

#[test]
fn every_token_but_the_last_is_in_the_state() {
    let model = Mock::new(30, 100);
    let prompt = prompt(5);
    let mut state = model.new_state().unwrap();
    let request = Request { max_new_tokens: 4, ..Request::new(&prompt) };
    let (steps, reason) = run(&model, &mut state, &mut sampler(1), request);
    assert_eq!(reason, StopReason::Length);
    let all: Vec<Token> = prompt.iter().copied().chain(ids(&steps)).collect();
    assert_eq!(state.0, all[..8]);

    // The next turn passes the whole context; what the state holds is not fed again.
    let next: Vec<Token> = all.iter().copied().chain([Token(3), Token(4)]).collect();
    let before = model.fed();
    run(&model, &mut state, &mut sampler(1), Request { max_new_tokens: 1, ..Request::new(&next) });
    assert_eq!(model.fed() - before, 3);
    assert_eq!(state.0, next);
}

#[test]
fn steps_report_the_models_own_distribution() {
    let mut model = Mock::new(30, 100);
    model.spoil = |_, row| {
        row[4] = f32::NEG_INFINITY;
        row[6] = 9.0;
        row[5] = 9.0;
    };
    let prompt = prompt(3);
    let request = Request { max_new_tokens: 1, top: 100, ..Request::new(&prompt) };
    let (steps, _) = run(&model, &mut Tape::default(), &mut greedy(&[5, 6]), request);
    let [step] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(step.top.len(), 29, "an impossible token is no alternative");
    assert_eq!([step.top[0].0, step.top[1].0], [Token(5), Token(6)], "ties by id");
    assert!(step.top.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    let sum: f32 = step.top.iter().map(|(_, logprob)| logprob.exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5);
    // The likeliest two were suppressed, and the chosen one keeps its raw probability.
    assert_eq!(step.top[2], (step.token, step.logprob));
}

#[test]
fn events_in_order() {
    let model = Mock::new(30, 100);
    let prompt = prompt(5);
    let request = Request { max_new_tokens: 1, chunk: 2, ..Request::new(&prompt) };
    let (mut state, mut sampler) = (Tape::default(), greedy(&[]));
    let mut generation = generate(&model, &mut state, &mut sampler, request);
    for done in [2, 4, 5] {
        assert_eq!(generation.next(), Some(Ok(Event::Prefill { done, total: 5 })));
    }
    let Some(Ok(Event::Token(step))) = generation.next() else { panic!("a token") };
    assert_eq!(generation.generated(), [step.token]);
    assert_eq!(generation.next(), Some(Ok(Event::End(StopReason::Length))));
    assert_eq!((generation.next(), generation.next()), (None, None));
    let json = serde_json::to_string(&Event::End(StopReason::EndToken(Token(2)))).unwrap();
    assert_eq!(json, r#"{"end":"end_token"}"#);
}

#[test]
fn an_end_token_is_handed_out_first() {
    let mut model = Mock::new(30, 100);
    model.spoil = |tape, row| row[2] = if tape.len() == 6 { 99.0 } else { -99.0 };
    let prompt = prompt(4);
    // Also the last that would be allowed: the end token is the better reason.
    let request = Request { max_new_tokens: 3, end_tokens: &[Token(1), Token(2)], ..Request::new(&prompt) };
    let (steps, reason) = run(&model, &mut Tape::default(), &mut greedy(&[1]), request);
    assert_eq!(reason, StopReason::EndToken(Token(2)));
    assert_eq!((steps.len(), steps[2].token), (3, Token(2)));
}

#[test]
fn a_full_context() {
    let model = Mock::new(30, 8);
    for (len, new) in [(5, 4), (8, 1)] {
        let prompt = prompt(len);
        let request = Request { max_new_tokens: usize::MAX, ..Request::new(&prompt) };
        let mut state = Tape::default();
        let (steps, reason) = run(&model, &mut state, &mut sampler(3), request);
        assert_eq!((steps.len(), reason), (new, StopReason::ContextFull));
        assert_eq!(state.len(), 8, "the last token was handed out without room to feed it");
        let request = Request { max_new_tokens: new, ..request };
        let (_, reason) = run(&model, &mut Tape::default(), &mut sampler(3), request);
        assert_eq!(reason, StopReason::Length);
    }
    let prompt = prompt(9);
    let mut state = Tape(prompt[..2].to_vec());
    let error = fails(&model, &mut state, Request { max_new_tokens: 1 << 63, ..Request::new(&prompt) });
    assert_eq!(error, ModelError::ContextFull { have: 2, new: 7, max: 8 }.into());
    assert_eq!(error.to_string(), "2 tokens and 7 more do not fit the context of 8; shorten the prompt");
    assert_eq!(state.len(), 2);
}

#[test]
fn bad_requests_never_reach_the_model() {
    let model = Mock::new(30, 100);
    let prompt = [Token(1), Token(2)];
    assert_eq!(fails(&model, &mut Tape::default(), Request::new(&[])), ModelError::NoTokens.into());
    let error = fails(&model, &mut Tape(vec![Token(1); 3]), Request::new(&prompt));
    assert_eq!(error, GenerateError::StateNotAPrefix { have: 3, prompt: 2 });
    let error = fails(&model, &mut Tape::default(), Request { chunk: 1, ..Request::new(&[Token(1), Token(30)]) });
    assert_eq!(error, ModelError::TokenOutOfRange { token: Token(30), vocab: 30 }.into());
    assert!(error.to_string().contains("ids 0 to 29"), "{error}");
    let error = fails(&Mock::new(31, 100), &mut Tape::default(), Request::new(&prompt));
    assert_eq!(error, SampleError::RowLength { found: 31, expected: 30 }.into());
    let none = Request { max_new_tokens: 0, ..Request::new(&prompt) };
    let mut state = Tape(prompt.to_vec());
    assert_eq!(run(&model, &mut state, &mut greedy(&[]), none), (vec![], StopReason::Length));
    assert_eq!((state.len(), model.fed()), (2, 0));
}

#[test]
fn damaged_logits_end_the_request() {
    let mut model = Mock::new(30, 100);
    let prompt = prompt(4);
    for spoil in [
        (|tape, row| row[3] = if tape.len() > 5 { f32::NAN } else { 0.0 }) as fn(&[Token], &mut Vec<f32>),
        |tape, row| row[3] = if tape.len() > 5 { f32::INFINITY } else { 0.0 },
        |tape, row| row.fill(if tape.len() > 5 { f32::NEG_INFINITY } else { 0.0 }),
    ] {
        model.spoil = spoil;
        let error = fails(&model, &mut Tape::default(), Request::new(&prompt));
        assert_eq!(error, ModelError::NotFinite { position: 5 }.into());
    }
    model.spoil = |_, row| row.truncate(29);
    let error = fails(&model, &mut Tape::default(), Request::new(&prompt));
    assert_eq!(error, SampleError::RowLength { found: 29, expected: 30 }.into());
}

#[test]
fn cancelling_takes_hold_before_the_next_call() {
    let model = Mock::new(30, 100);
    let prompt = prompt(6);
    for stop_after in 0..6 {
        let cancel = AtomicBool::new(stop_after == 0);
        let request = Request { chunk: 2, cancel: Some(&cancel), ..Request::new(&prompt) };
        let (mut state, mut sampler) = (Tape::default(), greedy(&[]));
        let calls = model.calls.borrow().len();
        let mut events = 0;
        for event in generate(&model, &mut state, &mut sampler, request) {
            if event == Ok(Event::End(StopReason::Cancelled)) {
                break;
            }
            events += 1;
            cancel.store(events >= stop_after, Ordering::Relaxed);
        }
        assert_eq!(events, stop_after);
        // Three chunks; the first token needs no further call.
        let expected = if stop_after > 3 { stop_after - 1 } else { stop_after };
        assert_eq!(model.calls.borrow().len() - calls, expected);
    }
}

#[test]
fn dropping_cancels() {
    let model = Mock::new(30, 100);
    let prompt = prompt(4);
    let (mut state, mut sampler) = (Tape::default(), greedy(&[]));
    let events: Vec<_> = generate(&model, &mut state, &mut sampler, Request::new(&prompt)).take(3).collect();
    assert_eq!(events.len(), 3);
    assert_eq!(state.len(), 5);
}

#[test]
fn min_new_tokens_and_penalties_see_where_the_answer_begins() {
    let mut model = Mock::new(30, 100);
    model.spoil = |_, row| {
        row[2] = 50.0;
        row[8] = 20.0;
        row[9] = 19.0;
    };
    // Token 8 is in the prompt: the presence penalty does not count it there.
    let prompt = [Token(8), Token(8)];
    let config =
        SamplerConfig { temperature: 0.0, min_new_tokens: 2, presence_penalty: Some(2.0), ..SamplerConfig::default() };
    let mut sampler = Sampler::new(config, 30).unwrap();
    let request = Request { end_tokens: &[Token(2)], ..Request::new(&prompt) };
    let (steps, reason) = run(&model, &mut Tape::default(), &mut sampler, request);
    assert_eq!(ids(&steps), [Token(8), Token(9), Token(2)]);
    assert_eq!(reason, StopReason::EndToken(Token(2)));
}
