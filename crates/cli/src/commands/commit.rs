//! `commit`: a working container becomes an image, in the store or somewhere else.

use std::path::PathBuf;

use builder::commit::{
    AfterCommit, CommitRequest, Committed, CreatedAnnotation, KeepHistory, Squash,
};
use builder::container::WorkingContainer;
use model::{ManifestFormat, Reference, Timestamp};
use transfer::TransportRef;

use crate::args::access::{AccessArgs, RetryArgs};
use crate::args::{GlobalArgs, go_bool, go_int};
use crate::failure::Failure;
use crate::host::encryption::EncryptionArgs;
use crate::host::{self, copying, lists};
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `commit`.
#[derive(Debug, clap::Args)]
pub struct CommitArgs {
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    /// Add an annotation: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Whether to write the annotation org.opencontainers.image.created
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    created_annotation: Option<bool>,
    /// The format of the image: oci or docker; the container's own without it
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// Whether to write the label io.buildah.version
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    identity_label: Option<bool>,
    /// Write the image's ID to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Add the image to the manifest list of this name, which is made if there is none
    #[arg(long, value_name = "LIST")]
    manifest: Option<String>,
    /// Leave out the history
    #[arg(long)]
    omit_history: bool,
    /// Print nothing but the ID
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Remove the container afterwards
    #[arg(long)]
    rm: bool,
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
    let request = request(args, names, world)?;
    let store = host::open_store_to_write(global, world, ui)?;
    let container = host::open_container(&store, name)?;
    let told_format = container.format();
    let committed = match &elsewhere {
        Some(place) => commit_to(container, &request, place, args, (global, world, ui))?,
        None => builder::commit::commit(container, &request)?.0,
    };
    // `config` has warned already of what the container's own format cannot say.
    if told_format != ManifestFormat::Oci {
        for loss in &committed.losses {
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
    let lines = CopyLines::new(ui, told);
    let made = builder::commit::commit_to(container, request, place, &options, &lines)?;
    Ok(made.committed)
}

/// Where the image goes: names in the store, or another place.
fn destination(image: Option<&str>) -> Result<(Vec<String>, Option<TransportRef>), Failure> {
    let Some(image) = image else {
        return Ok((Vec::new(), None));
    };
    match image.split_once(':') {
        Some((transport, _)) if transfer::is_transport(transport) => {
            match TransportRef::parse(image)? {
                TransportRef::Storage(place) if place.store.is_none() => {
                    Ok((place.name.iter().map(Reference::to_string).collect(), None))
                }
                place => Ok((Vec::new(), Some(place))),
            }
        }
        _ => Ok((vec![host::new_name(image)?], None)),
    }
}

fn request(args: &CommitArgs, names: Vec<String>, world: &World) -> Result<CommitRequest, Failure> {
    if args.timestamp.is_some() && args.source_date_epoch.is_some() {
        return Err(anyhow::anyhow!(
            "timestamp and source-date-epoch would be ambiguous if allowed together"
        )
        .into());
    }
    let fixed = args.timestamp.or(args.source_date_epoch);
    let created = fixed
        .map(Timestamp::from_unix)
        .transpose()?
        .unwrap_or_else(|| world.now());
    let identity = args.identity_label.unwrap_or(fixed.is_none());
    let format = match &args.format {
        Some(word) => Some(super::from::format_of(Some(word), world)?),
        None => None,
    };
    Ok(CommitRequest {
        format,
        times: args
            .timestamp
            .map_or(archive::Times::Keep, archive::Times::Fixed),
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
