//! The settings of `containers.conf` that a builder uses, with their types and defaults.

use super::field::{Field, Sticky, table};
use crate::document::{ConfigError, Setting};
use crate::effective::Effective;
use crate::origin::Origin;

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

table! {
    /// `[containers]`: how processes run.
    ContainersTable in "containers" {
        /// AppArmor profile; not consulted by builds.
        apparmor_profile: String = "container-default".to_owned(),
        /// The hosts file that those of containers begin with: a path, `none`, `image`, or empty for `/etc/hosts`.
        base_hosts_file: String = String::new(),
        /// The cgroup namespace; `host` or private.
        cgroupns: String = "private".to_owned(),
        /// Whether a container's name is its host name.
        container_name_as_hostname: bool = false,
        /// Capabilities, with or without `CAP_`.
        default_capabilities: Vec<String> = texts(&[
            "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
            "SETUID", "SYS_CHROOT",
        ]),
        /// Kernel settings, `NAME=VALUE`, where the namespaces are private.
        default_sysctls: Vec<String> = Vec::new(),
        /// Limits, `TYPE=SOFT:HARD`.
        default_ulimits: Vec<String> = Vec::new(),
        /// Devices, `HOST[:CONTAINER[:PERMISSIONS]]`.
        devices: Vec<String> = Vec::new(),
        /// Options of name resolution.
        dns_options: Vec<String> = Vec::new(),
        /// Domains that short host names are searched in.
        dns_searches: Vec<String> = Vec::new(),
        /// Name servers.
        dns_servers: Vec<String> = Vec::new(),
        /// Environment of containers; no visible effect on a build.
        env: Vec<String> =
            texts(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]),
        /// Whether containers get the host's environment; no visible effect on a build.
        env_host: bool = false,
        /// The address of `host.containers.internal`; `none`, or empty for one that is found.
        host_containers_internal_ip: String = String::new(),
        /// Whether containers get the proxies of the environment; a build has a flag for it.
        http_proxy: bool = true,
        /// `device` to name interfaces as the host does; validated only.
        interface_name: String = String::new(),
        /// The IPC namespace; `host` or one of their own.
        ipcns: String = "shareable".to_owned(),
        /// Whether processes get SELinux labels.
        label: bool = true,
        /// Whether labels keep the user's own user and role.
        label_users: bool = false,
        /// Largest log, in bytes; validated only.
        log_size_max: i64 = -1,
        /// The network namespace; `host` or private.
        netns: String = "private".to_owned(),
        /// Whether containers keep the image's hosts file; a build has a flag for it.
        no_hosts: bool = false,
        /// The namespace of process IDs; `host` or private.
        pidns: String = "private".to_owned(),
        /// The seccomp profile; not consulted by builds.
        seccomp_profile: String = String::new(),
        /// Size of `/dev/shm`, with a unit.
        shm_size: String = "65536k".to_owned(),
        /// Time zone; validated only.
        tz: String = String::new(),
        /// The mask of new files; validated only.
        umask: String = "0022".to_owned(),
        /// The user namespace; empty or `host` for the host's.
        userns: String = String::new(),
        /// The namespace of host names; `host` or private.
        utsns: String = "private".to_owned(),
        /// Volumes, `HOST:CONTAINER[:OPTIONS]`.
        volumes: Vec<String> = Vec::new(),
    }
}

table! {
    /// `[engine]`: how the tools themselves work.
    EngineTable in "engine" {
        /// Compressions of which a pushed list gets a variant of each image.
        add_compression: Vec<String> = Vec::new(),
        /// Where descriptions of devices are.
        cdi_spec_dirs: Vec<String> = texts(&["/etc/cdi", "/var/run/cdi"]),
        /// `systemd` or `cgroupfs`; empty for what suits the host.
        cgroup_manager: String = String::new(),
        /// The compression of layers that are sent.
        compression_format: String = "gzip".to_owned(),
        /// Its level; the compression's own if unset.
        compression_level: Option<i32> = None,
        /// The backend of Podman's database; validated only.
        database_backend: String = String::new(),
        /// Environment of the tool itself, `NAME=VALUE`, where it is not set.
        env: Vec<String> = Vec::new(),
        /// Where helper programs are.
        helper_binaries_dir: Vec<String> = texts(&[
            "/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman",
        ]),
        /// Where hooks of the OCI runtime are described; a build has a flag for it.
        hooks_dir: Vec<String> = texts(&["/usr/share/containers/oci/hooks.d"]),
        /// Where big temporary files are: an absolute path, or `storage` for the store's.
        image_copy_tmp_dir: String = "/var/tmp".to_owned(),
        /// How many layers move at once; 0 for the usual number.
        image_parallel_copies: u32 = 0,
        /// What Podman does with an image's volumes; validated only.
        image_volume_mode: String = String::new(),
        /// Options of slirp4netns.
        network_cmd_options: Vec<String> = Vec::new(),
        /// slirp4netns itself; empty to look for it.
        network_cmd_path: String = String::new(),
        /// Whether Podman's runtime leaves `pivot_root` alone.
        no_pivot_root: bool = false,
        /// When Podman pulls; validated only.
        pull_policy: String = "missing".to_owned(),
        /// How often a copy is tried again.
        retry: u32 = 3,
        /// How long to wait before that, with a unit; empty for growing pauses.
        retry_delay: String = String::new(),
        /// The OCI runtime: a name of `[engine.runtimes]`, or a program.
        runtime: String = String::new(),
    }
}

table! {
    /// `[network]`: how containers are connected.
    NetworkTable in "network" {
        /// Addresses that ports are published on.
        default_host_ips: Vec<String> = Vec::new(),
        /// The network that containers join.
        default_network: String = "podman".to_owned(),
        /// What connects containers of a user; only pasta is known.
        default_rootless_network_cmd: String = "pasta".to_owned(),
        /// The addresses of that network.
        default_subnet: String = "10.88.0.0/16".to_owned(),
        /// The port of the name server beside containers; 0 for 53.
        dns_bind_port: u16 = 0,
        /// What writes the rules of the firewall; empty for what suits the host.
        firewall_driver: String = String::new(),
        /// Where plug-ins of netavark are.
        netavark_plugin_dirs: Vec<String> = Vec::new(),
        /// What makes networks; only netavark is known.
        network_backend: String = String::new(),
        /// Where networks are described; empty for the usual place.
        network_config_dir: String = String::new(),
        /// Options of pasta.
        pasta_options: Vec<String> = Vec::new(),
        /// What forwards ports for a user.
        rootless_port_forwarder: String = String::new(),
    }
}

/// What a setting that only Podman uses must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bool,
    Integer,
    Texts,
    Tables,
    Any,
}

/// Settings that a builder does not use, but reads without complaint.
pub(super) const UNUSED: &[(Kind, &str, &str)] = &[
    (Kind::Texts, "containers", "annotations cgroup_conf mounts"),
    (
        Kind::Text,
        "containers",
        "cgroups default_mounts_file init_path log_driver log_path log_tag rootless_networking",
    ),
    (
        Kind::Bool,
        "containers",
        "init keyring prepare_volume_on_create privileged read_only",
    ),
    (
        Kind::Integer,
        "containers",
        "oom_score_adj pids_limit userns_size",
    ),
    (
        Kind::Texts,
        "engine",
        "compose_providers conmon_env_vars conmon_path conmonrs_path runtime_path runtime_supports_json runtime_supports_kvm runtime_supports_nocgroup runtime_supports_nocgroups",
    ),
    (
        Kind::Text,
        "engine",
        "active_service detach_keys events_logfile_path events_logger image_build_format image_default_format image_default_transport infra_command infra_image init_path kube_generate_type lock_type namespace platform pod_exit_policy remote_identity remote_uri ssh_config static_dir tmp_dir volume_path",
    ),
    (
        Kind::Bool,
        "engine",
        "cgroup_check chown_copied_files compat_api_enforce_docker_hub compose_warning_logs enable_port_reservation events_container_create_inspect_data healthcheck_events multi_image_archive remote",
    ),
    (
        Kind::Integer,
        "engine",
        "exit_command_delay num_locks podmansh_timeout service_timeout stop_timeout volume_plugin_timeout",
    ),
    (Kind::Any, "engine", "events_logfile_max_size"),
    (Kind::Texts, "network", "cni_plugin_dirs"),
    (Kind::Tables, "network", "default_subnet_pools"),
    (Kind::Text, "secrets", "driver"),
    (Kind::Text, "configmaps", "driver"),
    (Kind::Text, "machine", "image provider user"),
    (Kind::Texts, "machine", "volumes"),
    (Kind::Integer, "machine", "cpus disk_size memory"),
    (Kind::Bool, "machine", "rosetta"),
    (Kind::Text, "farms", "default"),
    (Kind::Text, "podmansh", "container shell"),
    (Kind::Integer, "podmansh", "timeout"),
];

/// Tables whose keys are names of the user's.
pub(super) const UNUSED_NAMES: &[(Kind, &str)] = &[
    (Kind::Texts, "engine.runtimes_flags."),
    (Kind::Text, "engine.platform_to_oci_runtime."),
    (Kind::Text, "engine.volume_plugins."),
    (Kind::Any, "engine.service_destinations."),
    (Kind::Text, "secrets.opts."),
    (Kind::Text, "configmaps.opts."),
    (Kind::Texts, "farms.list."),
];
