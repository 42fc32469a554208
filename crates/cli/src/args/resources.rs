//! Flags that limit what the processes of a container use together; `from` and `build` share them.

use crate::args::{go_int, go_uint};

/// What the processes of a container may use together.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ResourceArgs {
    /// The control group below which that of the processes is made
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// The period in which processor time is limited, in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = go_uint::<u64>)]
    pub cpu_period: Option<u64>,
    /// The processor time in each period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = go_int)]
    pub cpu_quota: Option<i64>,
    /// The weight against others where processors are short
    #[arg(long, short = 'c', value_name = "WEIGHT", value_parser = go_uint::<u64>)]
    pub cpu_shares: Option<u64>,
    /// The processors to run on, as 0-2,4
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// The memory nodes to use, as 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// The most memory, as NUMBER[bkmg]
    #[arg(long, short = 'm', value_name = "SIZE")]
    pub memory: Option<String>,
    /// The most memory and swap together, as NUMBER[bkmg]; -1 for no limit
    #[arg(long, value_name = "SIZE")]
    pub memory_swap: Option<String>,
}
