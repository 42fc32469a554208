//! Flags that shape the process of a RUN; `run`, `from` and `build` share them.

/// How a process in a container is run.
#[derive(Debug, Clone, clap::Args)]
pub struct ProcessArgs {
    /// The network: host or none
    #[arg(long, value_name = "MODE")]
    pub network: Option<String>,
    /// How processes are isolated: oci, rootless or chroot
    #[arg(long, value_name = "TYPE")]
    pub isolation: Option<String>,
    /// Add a capability
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub cap_drop: Vec<String>,
    /// Mount a directory or file of the host: SOURCE:TARGET[:OPTIONS]
    #[arg(long, short = 'v', value_name = "SOURCE:TARGET[:OPTIONS]")]
    pub volume: Vec<String>,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<String>,
    /// Limit a resource of the process: TYPE=SOFT[:HARD]
    #[arg(long, value_name = "TYPE=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// The size of /dev/shm, as NUMBER[bkmg]
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// Mount the host's CA certificates (/etc/ssl/certs) for the process; they never enter the image
    #[arg(long)]
    pub host_certs: bool,
}
