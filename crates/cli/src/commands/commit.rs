//! `commit`: a working container becomes an image, in the store or somewhere else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use builder::commit::{
    AddedFile, AfterCommit, CommitRequest, Committed, CreatedAnnotation, KeepHistory, Squash,
};
use builder::container::WorkingContainer;
use model::edit::DialectLoss;
use model::{Event, ManifestFormat, Reference, Reporter as _, Timestamp};
use runtime::Stop;
use store::Store;
use transfer::{CopyOptions, TransportRef};

use crate::args::access::{AccessArgs, PullArgs, RetryArgs};
use crate::args::sbom::{SbomArgs, SbomRequest};
use crate::args::{GlobalArgs, go_bool, go_int};
use crate::failure::Failure;
use crate::host::copying::CompressionArgs;
use crate::host::encryption::EncryptionArgs;
use crate::host::interrupt::Interrupt;
use crate::host::pulling::Ways;
use crate::host::sbom::Bills;
use crate::host::{self, copying, image_change, lists, signing};
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// How long a scanner may take to end after a signal.
const GRACE: Duration = Duration::from_secs(3);

/// Arguments of `commit`.
#[derive(Debug, clap::Args)]
pub struct CommitArgs {
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    sbom: SbomArgs,
    #[command(flatten)]
    pull: PullArgs,
    /// Add a file in a layer of its own: FILE[:PATH]
    #[arg(long, value_name = "FILE[:PATH]")]
    add_file: Vec<String>,
    /// Add an annotation: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Change the image's configuration with an instruction of a Containerfile
    #[arg(long, short = 'c', value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Lay the configuration in this file, JSON as Docker writes it, over the container's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Whether to write the annotation org.opencontainers.image.created (default: true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    created_annotation: Option<bool>,
    #[command(flatten)]
    compression: CompressionArgs,
    /// Whether layers are written as they are (default: what suits the place)
    #[arg(long, short = 'D', num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = go_bool)]
    disable_compression: Option<bool>,
    /// The format of the image: oci or docker (default: $BUILDAH_FORMAT, else oci)
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// Whether to write the label io.buildah.version (default: true, unless a time is given)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    identity_label: Option<bool>,
    /// Write the image's ID to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Add the image to the manifest list of this name, which is made if there is none
    #[arg(long, value_name = "LIST")]
    manifest: Option<String>,
    /// Write what is known of the image to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Leave out the history
    #[arg(long)]
    omit_history: bool,
    /// Set all times to that of 1970
    #[arg(long, hide = true)]
    omit_timestamp: bool,
    /// Print nothing but the ID
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Set all times to that of the last change of a file
    #[arg(long, value_name = "FILE", hide = true)]
    reference_time: Option<PathBuf>,
    /// Set later times of files to that of --source-date-epoch
    #[arg(long)]
    rewrite_timestamp: bool,
    /// Remove the container afterwards
    #[arg(long)]
    rm: bool,
    /// Sign the image with the key of gpg that has this fingerprint
    #[arg(long, value_name = "FINGERPRINT")]
    sign_by: Option<String>,
    /// One layer for the whole image
    #[arg(long)]
    squash: bool,
    /// Set the times of the image to this one, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = go_int)]
    source_date_epoch: Option<i64>,
    /// Set all times, of the image and of its files, to this one, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = go_int)]
    timestamp: Option<i64>,
    /// Leave out an annotation
    #[arg(long, value_name = "NAME")]
    unsetannotation: Vec<String>,
    /// Leave out a variable
    #[arg(long, value_name = "NAME")]
    unsetenv: Vec<String>,
    /// The container, and the name of the image or the place to write it to
    #[arg(value_name = "CONTAINER [IMAGE]")]
    words: Vec<String>,
}

/// Commits, and prints the image's ID.
pub fn run(args: &CommitArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let (name, image) = match args.words.as_slice() {
        [name] => (name, None),
        [name, image] => (name, Some(image.as_str())),
        [] => return Err(anyhow::anyhow!("container ID must be specified").into()),
        _ => return Err(anyhow::anyhow!("too many arguments specified").into()),
    };
    let (names, elsewhere) = destination(image)?;
    if elsewhere.is_none() && args.encryption.are_given() {
        return Err(anyhow::anyhow!(
            "layers in containers-storage cannot be encrypted: commit to another place"
        )
        .into());
    }
    copying::check_authfile(&args.access, world)?;
    // The layers of the store are not compressed; what cannot be is wrong all the same.
    args.compression.apply(&mut CopyOptions::default())?;
    let mut request = request(args, names, world)?;
    let sbom = args.sbom.request()?;
    let store = host::open_store_to_write(global, world, ui)?;
    let mut container = host::open_container(&store, name)?;
    copying::check_policy(&args.access, world)
        .context("obtaining default signature policy")
        .with_context(|| {
            let image = image.unwrap_or_default();
            format!("committing container {name:?} to {image:?}")
        })?;
    let told_format = container.format();
    change(&mut container, args, &request, (world, ui))?;
    let bills = sbom.map(|sbom| bills(sbom, args, &store, (global, world, ui)));
    let bills = bills.transpose()?;
    if let Some(bills) = &bills {
        request.added.extend(scan(bills, &container)?);
    }
    let committed = match &elsewhere {
        Some(place) => commit_to(container, &request, place, args, (global, world, ui))?,
        None => commit_here(container, &request, args, (world, ui))?,
    };
    if let Some(bills) = &bills {
        bills.save()?;
    }
    if let Some(file) = &args.metadata_file {
        let text = super::metadata::text(&committed.id, committed.manifest.bytes())?;
        host::write_file(&world.cwd.join(file), &text)?;
    }
    // `config` has warned already of what the container's own format cannot say.
    if !args.quiet && told_format != ManifestFormat::Oci {
        // Such a container has a host name that nobody has asked for.
        let is_told = |loss: &&DialectLoss| !matches!(loss, DialectLoss::Hostname(_));
        for loss in committed.losses.iter().filter(is_told) {
            ui.warn(&loss.to_string());
        }
    }
    if elsewhere.is_some() {
        // The image has no identifier here that a script could go on with.
        return Ok(());
    }
    if let Some(list) = &args.manifest {
        let rules = host::short_names::rules(global, world, ui)?;
        lists::include(&store, list, &committed.id, &rules)?;
    }
    match &args.iidfile {
        Some(file) => host::write_file(file, &format!("sha256:{}", committed.id))?,
        None => ui.line(&committed.id),
    }
    Ok(())
}

/// Prepares a scan with an image that is brought here if need be.
fn bills(
    sbom: SbomRequest,
    args: &CommitArgs,
    store: &Store,
    (global, world, ui): (&GlobalArgs, &World, &Ui),
) -> Result<Bills, Failure> {
    let mut ways = Ways::read(&args.access, global, world, ui)?;
    ways.policy = args.pull.policy()?;
    ways.options.retry = copying::retry(&args.retry, ways.options.retry)?;
    let told = Told::unless(args.quiet);
    Ok(Bills::new(
        sbom,
        Vec::new(),
        (store, &ways),
        told,
        (world, ui),
    )?)
}

/// Scans the container. Returns what its image is to have besides.
fn scan(bills: &Bills, container: &WorkingContainer) -> Result<Vec<AddedFile>, Failure> {
    let stop = Stop::new()?;
    let ender = stop.clone();
    let interrupt = Interrupt::install(move |signal| ender.end(signal, GRACE))?;
    let files = bills.make(&container.root()?, &stop).with_context(|| {
        let id = container.id();
        format!(
            "scanning rootfs to generate SBOM for container {:?}",
            id.as_str()
        )
    });
    files.map_err(|error| interrupt.explain(error.into()))
}

/// Changes what the image inherits of the container. The container does not keep it.
fn change(
    container: &mut WorkingContainer,
    args: &CommitArgs,
    request: &CommitRequest,
    (world, ui): (&World, &Ui),
) -> Result<(), Failure> {
    if let Some(file) = &args.config {
        let over = image_change::read_config(&world.cwd.join(file))?;
        container.config.config.overlay(over);
    }
    let format = request.format.unwrap_or_else(|| container.format());
    for warning in image_change::apply(&mut container.config, &args.change, format)? {
        ui.warn(&warning);
    }
    Ok(())
}

fn commit_here(
    container: WorkingContainer,
    request: &CommitRequest,
    args: &CommitArgs,
    (world, ui): (&World, &Ui),
) -> Result<Committed, Failure> {
    let lines = CopyLines::new(ui, Told::unless(args.quiet));
    let Some(key) = &args.sign_by else {
        let committed = builder::commit::commit(container, request)?.0;
        tell(&committed, &lines);
        return Ok(committed);
    };
    let signing = signing::by_gpg(key, world);
    let made = |committed: &Committed| tell(committed, &lines);
    Ok(builder::commit::commit_signed(container, request, &signing, &lines, made)?.0)
}

/// Tells of the image what a copy of it into the store would tell.
fn tell(committed: &Committed, lines: &CopyLines<'_>) {
    lines.event(Event::GettingSignatures);
    let manifest = committed.manifest.manifest();
    for layer in &manifest.layers {
        lines.event(Event::BlobStarted {
            digest: layer.digest.clone(),
            size: None,
        });
    }
    lines.event(Event::CopyingConfig {
        digest: manifest.config.digest.clone(),
    });
    lines.event(Event::WritingManifest);
}

fn commit_to(
    container: WorkingContainer,
    request: &CommitRequest,
    place: &TransportRef,
    args: &CommitArgs,
    (global, world, ui): (&GlobalArgs, &World, &Ui),
) -> Result<Committed, Failure> {
    if args.manifest.is_some() {
        return Err(anyhow::anyhow!(
            "--manifest lists images of the store: commit to a name there, and push it to {place}"
        )
        .into());
    }
    let told = Told::unless(args.quiet);
    let mut options = copying::options(&args.access, global, world, ui)?;
    options.retry = copying::retry(&args.retry, options.retry)?;
    args.encryption.apply(&mut options, world)?;
    options = copying::compressed(&args.compression, args.disable_compression, options)?;
    if let Some(key) = &args.sign_by {
        options
            .signatures
            .signers
            .push(signing::gpg(key, None, world));
    }
    let lines = CopyLines::new(ui, told);
    let made = builder::commit::commit_to(container, request, place, &options, &lines)?;
    Ok(made.committed)
}

/// Where the image goes: names in the store, or another place.
fn destination(image: Option<&str>) -> Result<(Vec<String>, Option<TransportRef>), Failure> {
    let Some(image) = image.filter(|image| !image.is_empty()) else {
        return Ok((Vec::new(), None));
    };
    match image.split_once(':') {
        Some((transport, _)) if transfer::is_transport(transport) => {
            let place = copying::destination(image)
                .with_context(|| format!("cannot parse input: {image:?}"))?;
            match place {
                TransportRef::Storage(place) if place.store.is_none() => {
                    Ok((place.name.iter().map(Reference::to_string).collect(), None))
                }
                place => Ok((Vec::new(), Some(place))),
            }
        }
        _ => match Reference::parse_local(image) {
            Ok(name) if name.digest().is_none() => {
                Ok((vec![name.with_default_tag().to_string()], None))
            }
            Ok(_) => Err(anyhow::anyhow!(
                "cannot parse input: {image:?}: invalid reference format"
            )
            .into()),
            Err(error) => {
                let error = anyhow::Error::from(error);
                let cause = error.root_cause();
                Err(anyhow::anyhow!("cannot parse input: {image:?}: {cause}").into())
            }
        },
    }
}

/// Reads `FILE[:PATH]`; without a path, the file keeps its own.
fn added_file(text: &str, world: &World) -> anyhow::Result<AddedFile> {
    let wrong = || format!("parsing add-file argument {text:?}");
    let (source, target) = text.split_once(':').unwrap_or((text, text));
    let facts = std::fs::metadata(world.cwd.join(source))
        .with_context(|| format!("stat {source}"))
        .with_context(|| format!("source {source:?}"))
        .with_context(wrong)?;
    if !facts.is_file() {
        return Err(anyhow::anyhow!("source {source:?} is not a regular file")).with_context(wrong);
    }
    Ok(AddedFile {
        source: world.cwd.join(source),
        target: Path::new("/").join(target),
    })
}

/// The moment that all times are set to, if any: of several flags that ask for one, one is too many.
fn fixed_time(args: &CommitArgs, world: &World) -> anyhow::Result<Option<i64>> {
    let given = [
        args.timestamp.is_some(),
        args.omit_timestamp,
        args.reference_time.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        // The words are Buildah's, slips included: scripts match them.
        anyhow::bail!("can not use more then one timestamp option at at time");
    }
    if args.omit_timestamp {
        return Ok(Some(0));
    }
    if let Some(file) = &args.reference_time {
        let file = world.cwd.join(file);
        let facts = std::fs::metadata(&file)
            .with_context(|| format!("reading the time of {}", file.display()))?;
        return Ok(Some(std::os::unix::fs::MetadataExt::mtime(&facts)));
    }
    Ok(args.timestamp)
}

fn request(args: &CommitArgs, names: Vec<String>, world: &World) -> Result<CommitRequest, Failure> {
    let timestamp = fixed_time(args, world)?;
    if timestamp.is_some() && args.source_date_epoch.is_some() {
        return Err(anyhow::anyhow!(
            "timestamp and source-date-epoch would be ambiguous if allowed together"
        )
        .into());
    }
    let fixed = timestamp.or(args.source_date_epoch);
    let created = fixed
        .map(Timestamp::from_unix)
        .transpose()?
        .unwrap_or_else(|| world.now());
    let identity = args.identity_label.unwrap_or(fixed.is_none());
    let format = Some(super::from::format_of(args.format.as_deref(), world)?);
    Ok(CommitRequest {
        format,
        times: match (timestamp, args.source_date_epoch) {
            (Some(time), _) => archive::Times::Fixed(time),
            (None, Some(latest)) if args.rewrite_timestamp => archive::Times::Clamp(latest),
            _ => archive::Times::Keep,
        },
        added: args
            .add_file
            .iter()
            .map(|text| added_file(text, world))
            .collect::<anyhow::Result<_>>()?,
        squash: if args.squash { Squash::Yes } else { Squash::No },
        history: if args.omit_history {
            KeepHistory::No
        } else {
            KeepHistory::Yes
        },
        identity: identity.then(|| crate::world::BUILDAH.to_owned()),
        created_annotation: match args.created_annotation {
            Some(false) => CreatedAnnotation::No,
            _ => CreatedAnnotation::Yes,
        },
        annotations: host::pairs(&args.annotation)?.into_iter().collect(),
        unset_annotations: args.unsetannotation.clone(),
        unset_env: args.unsetenv.clone(),
        after: if args.rm {
            AfterCommit::Remove
        } else {
            AfterCommit::Keep
        },
        ..CommitRequest::new(names, created)
    })
}
