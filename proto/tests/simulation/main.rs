//! Two ends of a tunnel on virtual time: seeded delays, chunk sizes, slow consumers, resets, stalls
//! and cuts, checked against a model that knows what every session must receive. Some sessions carry
//! datagrams, of which none may be lost that is not counted.
//!
//! A failure names its seed. `TITAN_SIM_SEED=n` replays one, `TITAN_SIM_RUNS=n` runs more.

mod datagrams;
mod link;
mod script;
mod world;

use world::{Fault, World};

/// Runs the scenario for every seed, and says which one failed.
fn for_each_seed(scenario: impl Fn(u64)) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("TITAN_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TITAN_SIM_RUNS").unwrap_or(100),
    };
    for seed in seeds {
        let run = std::panic::AssertUnwindSafe(|| scenario(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("replay with TITAN_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn every_session_gets_its_bytes_and_its_end() {
    for_each_seed(|seed| {
        let mut world = World::new(seed, Fault::None);
        world.run_to_end();
        world.assert_all_sessions_ended_as_scripted();
        world.assert_losses_are_counted();
        world.assert_nothing_left();
    });
}

#[test]
fn a_cut_ends_every_session_and_nothing_happens_after() {
    for_each_seed(|seed| {
        let mut world = World::new(seed, Fault::Cut);
        world.run_to_end();
        world.assert_tunnel_over();
        world.assert_nothing_left();
    });
}

#[test]
fn a_stalled_link_is_found_out_by_silence() {
    for_each_seed(|seed| {
        let mut world = World::new(seed, Fault::Stall);
        world.run_to_end();
        world.assert_tunnel_over();
        world.assert_nothing_left();
    });
}

#[test]
fn a_graceful_drain_lets_sessions_finish() {
    for_each_seed(|seed| {
        let mut world = World::new(seed, Fault::Drain);
        world.run_to_end();
        world.assert_all_sessions_ended_as_scripted();
        world.assert_losses_are_counted();
        world.assert_nothing_left();
    });
}
