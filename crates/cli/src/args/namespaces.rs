//! Flags about the namespaces of processes; `run`, `from` and `build` share them.

/// Which users exist for a process.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct UserNamespaceArgs {
    /// The users: host, or private with those of the maps
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// Map user ids: the first of the container, the first of the host, how many
    #[arg(long, value_name = "CONTAINER:HOST:SIZE", value_delimiter = ',')]
    pub userns_uid_map: Vec<String>,
    /// Map group ids; as users are, if not given
    #[arg(long, value_name = "CONTAINER:HOST:SIZE", value_delimiter = ',')]
    pub userns_gid_map: Vec<String>,
    /// Map the ids that /etc/subuid has for a user
    #[arg(long, value_name = "NAME")]
    pub userns_uid_map_user: Option<String>,
    /// Map the ids that /etc/subgid has for a group
    #[arg(long, value_name = "NAME")]
    pub userns_gid_map_group: Option<String>,
}

/// Which namespaces a process is in.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NamespaceArgs {
    /// The control groups that the process sees: private, host, or the path of a namespace
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
    /// Message queues and shared memory: private, host, or the path of a namespace
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// The processes that it sees: private, host, or the path of a namespace
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
    /// The host name: private, host, or the path of a namespace
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
}
