//! Flags about the namespaces of processes; `run`, `from` and `build` share them.

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
