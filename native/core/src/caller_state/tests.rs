use dynamo_runtime::engine::{AsyncEngineContext, AsyncEngineContextProvider};
use dynamo_runtime::pipeline::Context;

use super::CallerState;

#[test]
fn learns_of_a_kill() {
    let context = Context::new(()).context();
    let state = CallerState::of(&context);
    assert!(!state.is_killed());
    context.kill();
    assert!(state.is_killed());
}

#[test]
fn learns_of_a_kill_before_it_was_linked() {
    let context = Context::new(()).context();
    context.kill();
    assert!(CallerState::of(&context).is_killed());
}

#[test]
fn does_not_take_a_stop_for_a_kill() {
    let context = Context::new(()).context();
    let state = CallerState::of(&context);
    context.stop();
    assert!(state.is_stopped() && !state.is_killed());
}

#[test]
fn remembers_a_kill_that_a_stop_follows() {
    let context = Context::new(()).context();
    let state = CallerState::of(&context);
    context.kill();
    context.stop();
    assert!(state.is_killed());
}

#[test]
fn takes_the_end_of_generating_for_a_kill_unless_it_follows_a_stop() {
    let (alone, stopped) = (CallerState::default(), CallerState::default());
    alone.stop_generating();
    stopped.stop();
    stopped.stop_generating();
    assert!(alone.is_killed() && !stopped.is_killed());
}
