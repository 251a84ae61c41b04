use dynamo_kv_router::WorkerType;
use dynamo_kv_router::config::KvRouterConfig;

use super::{Facts, Request, Weights, pick, terms};

fn request() -> Request {
    Request { prompt_tokens: 64, blocks: 4, block_size: 16, tracks_prefill: true, least_prefill_tokens: 0 }
}

fn facts() -> Facts {
    Facts { load_known: true, taint_multiplier: 1.0, ..Facts::default() }
}

fn weights() -> Weights {
    let mut config = KvRouterConfig::default();
    (config.overlap_score_credit, config.prefill_load_scale) = (1.0, 1.0);
    (config.overlap_score_credit_decay, config.decode_active_request_weight) = (0.0, 0.0);
    Weights::new(&config, WorkerType::Aggregated)
}

#[test]
fn counts_the_blocks_to_prefill_less_those_on_the_device() {
    let cost = |device_blocks| terms(&weights(), &request(), &Facts { device_blocks, ..facts() }).cost;
    assert_eq!((cost(0.0), cost(3.0), cost(9.0)), (4.0, 1.0, 0.0));
}

#[test]
fn adds_the_blocks_in_use_and_what_waits_for_prefill() {
    let facts = Facts { decode_blocks: 5.0, active_prefill_tokens: 32, ..facts() };
    let terms = terms(&weights(), &request(), &facts);
    assert_eq!((terms.prefill, terms.decode, terms.cost), (6.0, 5.0, 11.0));
}

#[test]
fn multiplies_the_cost_of_a_tainted_worker() {
    let facts = Facts { taint_multiplier: 0.5, ..facts() };
    assert_eq!(terms(&weights(), &request(), &facts).cost, 2.0);
}

#[test]
fn gives_less_credit_above_the_least_load() {
    let mut config = KvRouterConfig::default();
    (config.overlap_score_credit, config.overlap_score_credit_decay) = (1.0, 1.0);
    let weights = Weights::new(&config, WorkerType::Aggregated);
    let facts = Facts { device_blocks: 4.0, active_prefill_tokens: 64, ..facts() };
    let terms = terms(&weights, &request(), &facts);
    assert_eq!((terms.credit_decay, terms.overlap_credit), (0.5, 2.0));
}

#[test]
fn picks_the_least_cost() {
    assert_eq!(pick(&[3.0, 1.0, 2.0], 0.0), 1);
}

#[test]
fn draws_among_equal_costs() {
    let mut drawn = [0; 3];
    (0..300).for_each(|_| drawn[pick(&[1.0, 2.0, 1.0], 0.0)] += 1);
    assert!(drawn[0] > 0 && drawn[1] == 0 && drawn[2] > 0, "{drawn:?}");
}

#[test]
fn draws_among_all_costs_above_temperature_zero() {
    let mut drawn = [0; 2];
    (0..300).for_each(|_| drawn[pick(&[1.0, 1.1], 10.0)] += 1);
    assert!(drawn[0] > 0 && drawn[1] > 0, "{drawn:?}");
}
