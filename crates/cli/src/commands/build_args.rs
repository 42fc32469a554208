//! Arguments of `build`.

use std::path::PathBuf;

use crate::args::access::{AccessArgs, PullArgs, RetryArgs};
use crate::args::namespaces::{NamespaceArgs, UserNamespaceArgs};
use crate::args::process::{ProcessArgs, ResolverArgs};
use crate::args::resources::ResourceArgs;
use crate::args::sbom::SbomArgs;
use crate::args::{go_bool, go_int};
use crate::host::copying::CompressionArgs;
use crate::host::encryption::DecryptionArgs;

/// Arguments of `build`. What Buildah has and this lacks is refused by name.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// The context: a directory, a Containerfile in its context, or `-` for a Containerfile on standard input
    pub context: Vec<String>,
    /// A Containerfile; several are joined
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: Vec<String>,
    /// A name for the image; may be repeated
    #[arg(long, short = 't', value_name = "NAME")]
    pub tag: Vec<String>,
    /// Add the image to the manifest list of this name, which is made if there is none
    #[arg(long, value_name = "LIST")]
    pub manifest: Option<String>,
    /// The stage to stop at, by name or number
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Replaces the image of the first FROM
    #[arg(long, value_name = "IMAGE")]
    pub from: Option<String>,
    /// Write the image's files to a folder or archive: PATH, `-`, or type=local|tar,dest=PATH
    #[arg(long, short = 'o', value_name = "OUTPUT")]
    pub output: Vec<String>,
    /// Leave out the stages that the target does not need (the default)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub skip_unused_stages: Option<bool>,
    #[command(flatten)]
    pub inputs: InputArgs,
    #[command(flatten)]
    pub result: ResultArgs,
    #[command(flatten)]
    pub sbom: SbomArgs,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub steps: StepArgs,
    #[command(flatten)]
    pub report: ReportArgs,
}

/// What a build reads.
#[derive(Debug, clap::Args)]
pub struct InputArgs {
    /// The value of a build argument; without a value, that of the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// A file of build arguments, a NAME=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub build_arg_file: Vec<PathBuf>,
    /// A named context: a directory, an image, or an archive of one
    #[arg(long, value_name = "NAME=VALUE")]
    pub build_context: Vec<String>,
    /// The ignore file to use instead of the context's
    #[arg(long, value_name = "FILE")]
    pub ignorefile: Option<PathBuf>,
    /// A further flag for the preprocessor of Containerfiles that end in `.in`
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub cpp_flag: Vec<String>,
    /// A secret for RUN --mount=type=secret
    #[arg(long, value_name = "id=ID[,src=PATH][,env=NAME]")]
    pub secret: Vec<String>,
    /// An SSH agent for RUN --mount=type=ssh: a name, and its socket unless it is that of the environment
    #[arg(long, value_name = "ID[=SOCKET]")]
    pub ssh: Vec<String>,
    #[command(flatten)]
    pub pull: PullArgs,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub retry: RetryArgs,
    #[command(flatten)]
    pub decryption: DecryptionArgs,
    /// The platform of the image, as OS/ARCH[/VARIANT]; several make a list (default: this machine's)
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// The operating system of the image (default: this machine's)
    #[arg(long, value_name = "OS")]
    pub os: Option<String>,
    /// The architecture of the image (default: this machine's)
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// The variant of the architecture
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
}

/// What the image is like.
#[derive(Debug, clap::Args)]
pub struct ResultArgs {
    /// The format of the image: oci or docker (default: $BUILDAH_FORMAT, else oci)
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// One layer for the whole image
    #[arg(long)]
    pub squash: bool,
    /// A label of the image
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// An annotation of the image
    #[arg(long, value_name = "NAME=VALUE")]
    pub annotation: Vec<String>,
    /// A variable set at the head of every stage; without a value, that of the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// A variable to leave out of the image
    #[arg(long, value_name = "NAME")]
    pub unsetenv: Vec<String>,
    /// A label to leave out of the image
    #[arg(long, value_name = "NAME")]
    pub unsetlabel: Vec<String>,
    /// An annotation to leave out of the image
    #[arg(long, value_name = "NAME")]
    pub unsetannotation: Vec<String>,
    /// Whether the labels of the base go on (default: true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub inherit_labels: Option<bool>,
    /// Whether the annotations of the base go on (default: true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub inherit_annotations: Option<bool>,
    /// A label of the images that are made on the way
    #[arg(long, value_name = "NAME=VALUE")]
    pub layer_label: Vec<String>,
    /// The version of the operating system that the image needs
    #[arg(long, value_name = "VERSION")]
    pub os_version: Option<String>,
    /// A feature of the operating system that the image needs
    #[arg(long, value_name = "FEATURE")]
    pub os_feature: Vec<String>,
    /// Set all times, of the image and of its files, to this one, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = go_int)]
    pub timestamp: Option<i64>,
    /// Set the times of the image to this one, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub source_date_epoch: Option<String>,
    /// Set later times of new files to the one of --source-date-epoch
    #[arg(long)]
    pub rewrite_timestamp: bool,
    /// Leave out the history
    #[arg(long)]
    pub omit_history: bool,
    /// Whether to write the label io.buildah.version (default: true, unless a time is given)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub identity_label: Option<bool>,
    /// Whether to write the annotation org.opencontainers.image.created (default: true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub created_annotation: Option<bool>,
    /// Sign what is written to other places with the key of gpg that has this fingerprint
    #[arg(long, value_name = "FINGERPRINT")]
    pub sign_by: Option<String>,
    #[command(flatten)]
    pub compression: CompressionArgs,
    /// Whether layers are written as they are to other places (the default)
    #[arg(long, short = 'D', num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = go_bool)]
    pub disable_compression: Option<bool>,
    /// Has no effect; kept for Docker's command line
    #[arg(long)]
    pub compress: bool,
    /// Has no effect; kept for scripts of old
    #[arg(long, hide = true, allow_negative_numbers = true, value_parser = go_int)]
    pub loglevel: Option<i64>,
    /// Has no effect; kept for Docker's command line
    #[arg(long)]
    pub disable_content_trust: bool,
}

/// What is reused and what runs at once.
#[derive(Debug, clap::Args)]
pub struct CacheArgs {
    /// Keep a layer a step, and use the ones that are there (the default of `cooper`, not of `buildah`)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub layers: Option<bool>,
    /// Perform every step anew
    #[arg(long)]
    pub no_cache: bool,
    /// Use no result that is older than this
    #[arg(long, value_name = "DURATION")]
    pub cache_ttl: Option<String>,
    /// Look for results of other machines in this repository; may be given several times, has no effect without layers
    #[arg(long, value_name = "REPOSITORY")]
    pub cache_from: Vec<String>,
    /// Put results into this repository for other machines; may be given several times, has no effect without layers
    #[arg(long, value_name = "REPOSITORY")]
    pub cache_to: Vec<String>,
    /// Keep an image of each stage
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub save_stages: Option<bool>,
    /// Label the images of stages, and the result, with the stage and what it stands on; needs --save-stages
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub stage_labels: Option<bool>,
    /// How many stages to work on at once; 0 for as many as there are (default: the number of cores)
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = go_int)]
    pub jobs: Option<i64>,
    /// Remove intermediate containers; there are none (default: true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub rm: Option<bool>,
    /// Remove intermediate containers after a failure; there are none
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub force_rm: Option<bool>,
}

/// The world in which RUN steps run.
#[derive(Debug, clap::Args)]
pub struct StepArgs {
    #[command(flatten)]
    pub process: ProcessArgs,
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Add users to a group, by number; keep-groups for those of whoever runs this
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub group_add: Vec<String>,
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    #[command(flatten)]
    pub users: UserNamespaceArgs,
    #[command(flatten)]
    pub resolver: ResolverArgs,
    /// What processes may do: no-new-privileges, seccomp=unconfined|FILE, label=…, apparmor=…
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub security_opt: Vec<String>,
    /// Drop what RUN changes in volumes of the image
    #[arg(long)]
    pub compat_volumes: bool,
    /// Let RUN read standard input
    #[arg(long)]
    pub stdin: bool,
    /// Keep /etc/hosts as the image has it
    #[arg(long)]
    pub no_hosts: bool,
    /// Keep /etc/hostname as the image has it
    #[arg(long)]
    pub no_hostname: bool,
    /// Whether RUN sees the proxy variables of the environment (default: true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub http_proxy: Option<bool>,
}

impl ReportArgs {
    /// Whether files take the image's ID, so that it is not printed.
    pub fn hides_id(&self) -> bool {
        self.iidfile.is_some() || self.iidfile_raw.is_some()
    }
}

/// What is told, and where.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Print the image's ID only
    #[arg(long, short = 'q')]
    pub quiet: bool,
    /// Write the image's ID, with its algorithm, to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Write the image's bare ID to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile_raw: Option<PathBuf>,
    /// Write what is known of the image to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Write everything that is told to a file
    #[arg(long, value_name = "FILE")]
    pub logfile: Option<PathBuf>,
    /// Name the file of --logfile after the platform
    #[arg(long)]
    pub logsplit: bool,
    /// Say on standard error why a step was not found in the cache
    #[arg(long)]
    pub explain: bool,
}
