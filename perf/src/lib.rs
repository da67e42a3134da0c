//! Whole-system measurement of Titan IP Overlay, beside other programs in the same run.
//!
//! Everything is charged to the processes under test: their CPU clocks and their resident memory.
//! What the load itself uses does not enter any figure. `perf/README.md` describes the method.

#![forbid(unsafe_code)]

mod cli;
pub mod counts;
pub mod delay;
pub mod flame;
pub mod fleet;
pub mod hold;
pub mod limits;
pub mod load;
pub mod narrow;
pub mod process;
pub mod report;
pub mod sample;
pub mod scenario;
pub mod scrape;
pub mod soak;
pub mod stall;
pub mod storm;
pub mod subject;
pub mod target;
pub mod udp;
pub mod via;

pub use cli::Cli;
