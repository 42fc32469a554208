//! Flags that shape the process of a RUN; `run`, `from` and `build` share them.

/// How a process in a container is run.
#[derive(Debug, Clone, clap::Args)]
pub struct ProcessArgs {
    /// The network: host, none, private, ns:PATH, pasta[:OPTION,…], slirp4netns[:OPTION,…], or networks by name
    #[arg(long, alias = "net", value_name = "MODE")]
    pub network: Option<String>,
    /// Has no effect; kept for scripts from before netavark
    #[arg(long, hide = true, value_name = "DIR")]
    pub cni_config_dir: Option<String>,
    /// Has no effect; kept for scripts from before netavark
    #[arg(long, hide = true, value_name = "PATH")]
    pub cni_plugin_path: Option<String>,
    /// How processes are isolated: oci, rootless or chroot (default: $BUILDAH_ISOLATION, else the container's, else oci)
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
    /// Limit a resource of the process: TYPE=SOFT[:HARD] (default: containers.conf's)
    #[arg(long, value_name = "TYPE=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// The size of /dev/shm, as NUMBER[bkmg] (default: 65536k)
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// Give a device of the host: SOURCE[:TARGET[:PERMISSIONS]]
    #[arg(long, value_name = "SOURCE[:TARGET[:PERMISSIONS]]")]
    pub device: Vec<String>,
    /// Mount the host's CA certificates (/etc/ssl/certs) for the process; they never enter the image
    #[arg(long)]
    pub host_certs: bool,
}

/// Where a process looks up the names of machines.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ResolverArgs {
    /// A name server, or `none` for /etc/resolv.conf as the image has it
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub dns: Vec<String>,
    /// An option for the resolver
    #[arg(long, value_name = "OPTION", value_delimiter = ',')]
    pub dns_option: Vec<String>,
    /// A domain to search
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    pub dns_search: Vec<String>,
}
