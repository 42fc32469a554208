//! `build`: an image from a Containerfile.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use builder::run::{EtcFiles, VolumeChanges};
use builder::state::RunOptions;
use containerfile::{GoDuration, Parsed, Severity};
use model::{ManifestFormat, Platform, Reference, Timestamp};
use solve::request::StepInput;
use solve::scope::ArgValues;
use solve::target::{CreatedAnnotation, HistoryKept, Inherit, Squash, UnusedStages};
use solve::{
    BuildError, BuildRequest, BuildTimes, Cancel, ImageSettings, Layering, LookUp, NamedContext,
    Outcome, RunSettings, Scanner, StageImages, Target,
};
use store::Store;
use transfer::TransportRef;

pub use super::build_args::BuildArgs;
use super::build_args::{CacheArgs, ResultArgs, StepArgs};
use super::build_output::Output;
use super::build_result::Destination;
use crate::args::GlobalArgs;
use crate::args::access::PullPolicy;
use crate::args::sbom::SbomRequest;
use crate::failure::{FAILED, Failure};
use crate::host;
use crate::host::build_input::{self, BuildInput, NamedContexts, Reading};
use crate::host::confine::Security;
use crate::host::downloads::Downloads;
use crate::host::images::{Arrivals, StoreImages};
use crate::host::interrupt::Interrupt;
use crate::host::process::{ProcessSettings, default_capabilities};
use crate::host::pulling::Ways;
use crate::host::remote_cache::{self, Repositories};
use crate::host::sbom::Bills;
use crate::host::{copying, namespace_options, networks, process, resources, signing, user_maps};
use crate::progress::{BuildLines, CopyLines, ResultId, StageTags, Told};
use crate::ui::Ui;
use crate::world::{StartedAs, World};

/// Builds, and prints the image's ID last.
pub fn run(args: &BuildArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let ui = &log_file(args, world)?.map_or_else(|| ui.clone(), |file| ui.with_file(file));
    let context = match args.context.as_slice() {
        [] => None,
        [context] => Some(context.as_str()),
        more => {
            return Err(
                anyhow::anyhow!("accepts at most 1 arg(s), received {}", more.len()).into(),
            );
        }
    };
    let shape = Shape::resolve(args, world)?;
    let sbom = args.sbom.request()?;
    let reading = Reading {
        files: &args.file,
        cpp_flags: &args.inputs.cpp_flag,
    };
    let input = BuildInput::read(context, &reading, (world, ui))?;
    let parsed = input.parse();
    tell_findings(&parsed, ui)?;
    let run = run_settings(args, world)?;
    let contexts = build_input::named_contexts(&args.inputs.build_context, world)?;
    let mut targets = targets(args, (&input, &contexts), parsed, &shape, world)?;
    copying::check_policy(&args.inputs.access, world)
        .context("obtaining default signature policy")?;
    let store = host::open_store_to_write(global, world, ui)?;

    let (cancel, interrupt, stop) = listen()?;
    let split = split_logs(args, &shape.platforms, (world, ui))?;
    let lines = lines(args, &shape, ui).splitting(split);
    let mut ways = Ways::read(&args.inputs.access, global, world, ui)?;
    ways.policy = shape.pull;
    ways.options.retry = copying::retry(&args.inputs.retry, ways.options.retry)?;
    ways.options.stop = Some(stop);
    let decryption = args.inputs.decryption.apply(&mut ways.options, world);
    decryption.context("unable to obtain decrypt config")?;
    let told = Told::unless(args.report.quiet);
    let bills = scanning(sbom, &mut targets, (&store, &ways), told, (world, ui))?;
    let images = StoreImages {
        store: &store,
        ways: &ways,
        reporter: &lines,
        lanes: shape.jobs.get(),
        arrivals: Arrivals::default(),
    };
    let downloads = Downloads::new(world);
    let request = BuildRequest {
        targets,
        layers: shape.layers,
        stages: shape.stages,
        jobs: shape.jobs,
        times: shape.times,
        run,
        downloads: &downloads,
        caches: remote_cache::caches(&shape.caches, &store, &ways.options),
        clock: &SystemTime::now,
        cancel,
    };
    let outcome = solve::build(&request, &store, &images, &lines)
        .map_err(|error| interrupt.explain(failure(error, ui)))?;
    let options = copied_as(&args.result, &ways)?;
    if let Some(bills) = &bills {
        bills.save()?;
    }
    let signing = args.result.sign_by.as_deref();
    let destination = Destination {
        store: &store,
        rules: &ways.rules,
        names: &shape.names,
        places: &shape.places,
        outputs: &shape.outputs,
        options: &options,
        signing: signing.map(|key| signing::by_gpg(key, world)),
    };
    let told = Told::unless(args.report.quiet || shape.outputs.contains(&Output::Stdout));
    lines.tagged(&destination.sign(&outcome, &CopyLines::new(ui, told))?);
    let product = destination.collect(&outcome, args.manifest.as_deref())?;
    lines.end(&not_consumed(&outcome));
    match product {
        Some(product) => destination.finish(&product, args, (world, ui)),
        None => Ok(()),
    }
}

/// How what is made is copied to other places.
fn copied_as(result: &ResultArgs, ways: &Ways) -> Result<transfer::CopyOptions> {
    let disable = result.disable_compression;
    copying::compressed(&result.compression, disable, ways.options.clone())
}

/// Lets every image be scanned with the contexts of the build, if that is asked for.
fn scanning(
    sbom: Option<SbomRequest>,
    targets: &mut [Target],
    place: (&Store, &Ways),
    told: Told,
    outside: (&World, &Ui),
) -> Result<Option<Arc<Bills>>> {
    let Some(sbom) = sbom else {
        return Ok(None);
    };
    let bills = Bills::new(sbom, seen_by_scanners(targets), place, told, outside)?;
    let bills = Arc::new(bills);
    for target in targets {
        target.image.scanner = Some(Arc::clone(&bills) as Arc<dyn Scanner>);
    }
    Ok(Some(bills))
}

/// The directories that scanners see besides an image: the contexts.
fn seen_by_scanners(targets: &[Target]) -> Vec<PathBuf> {
    let Some(target) = targets.first() else {
        return Vec::new();
    };
    let named = target
        .contexts
        .values()
        .filter_map(|context| match context {
            NamedContext::Directory(directory) => Some(&directory.path),
            NamedContext::Image(_) => None,
        });
    std::iter::once(&target.context.path)
        .chain(named)
        .cloned()
        .collect()
}

/// Listens for signals, which turn the switch of the build and the flag of its copies.
fn listen() -> Result<(Cancel, Interrupt, Arc<AtomicBool>)> {
    let (cancel, stop) = (Cancel::new(), Arc::new(AtomicBool::new(false)));
    let (switch, turned) = (cancel.clone(), Arc::clone(&stop));
    let interrupt = Interrupt::install(move |_| {
        turned.store(true, Ordering::Relaxed);
        switch.cancel();
    })?;
    Ok((cancel, interrupt, stop))
}

/// What prints the build. The image's name is shown as it was typed, unless there are several images.
fn lines<'a>(args: &BuildArgs, shape: &Shape, ui: &'a Ui) -> BuildLines<'a> {
    let told = Told::unless(args.report.quiet || shape.outputs.contains(&Output::Stdout));
    let tags = if shape.jobs.get() > 1 {
        StageTags::On
    } else {
        StageTags::Off
    };
    let result = if args.report.hides_id() {
        ResultId::Hidden
    } else {
        ResultId::Shown
    };
    let lines = BuildLines::new(ui, told, tags)
        .naming(
            args.tag
                .first()
                .filter(|_| shape.platforms.len() == 1)
                .cloned(),
        )
        .result(result);
    if args.report.explain {
        lines.explaining()
    } else {
        lines
    }
}

/// The arguments that some target has no use for, each once.
fn not_consumed(outcome: &Outcome) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in outcome.images.iter().flat_map(|image| &image.not_consumed) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// The settings that are no inputs: what is made, and how.
struct Shape {
    format: ManifestFormat,
    layers: Layering,
    stages: StageImages,
    caches: Repositories,
    jobs: NonZeroUsize,
    pull: PullPolicy,
    times: BuildTimes,
    platforms: Vec<Platform>,
    identity: Option<String>,
    names: Vec<Reference>,
    places: Vec<TransportRef>,
    outputs: Vec<Output>,
}

impl Shape {
    fn resolve(args: &BuildArgs, world: &World) -> Result<Self> {
        let format = match args
            .result
            .format
            .as_deref()
            .or(world.var("BUILDAH_FORMAT"))
            .unwrap_or("oci")
        {
            "oci" | "OCIv1" => ManifestFormat::Oci,
            "docker" | "dockerv2" => ManifestFormat::Docker,
            other => bail!("unrecognized image type {other:?}"),
        };
        let (names, places) = destinations(&args.tag)?;
        if args
            .manifest
            .as_ref()
            .is_some_and(|list| args.tag.contains(list))
        {
            bail!("the same name must not be specified for both '--tag' and '--manifest'");
        }
        let outputs = args.output.iter().filter(|text| !text.is_empty());
        let outputs: Vec<Output> = outputs
            .map(|text| Output::parse(text))
            .collect::<Result<_>>()?;
        let platforms = platforms(args)?;
        if platforms.len() > 1 && !outputs.is_empty() {
            bail!("--output with several platforms is not supported yet");
        }
        let times = times(&args.result, world)?;
        let layers = layering(&args.cache, world)?;
        let caches = Repositories::parse(&args.cache.cache_from, &args.cache.cache_to)?;
        let identity = args
            .result
            .identity_label
            .unwrap_or(times.created.is_none());
        Ok(Self {
            format,
            layers,
            stages: stage_images(&args.cache)?,
            caches: match layers {
                Layering::PerStep { .. } => caches,
                // Without layers there is nothing to look for and nothing to put there.
                Layering::AtEnd => Repositories::default(),
            },
            jobs: jobs(args.cache.jobs, world)?,
            pull: args.inputs.pull.policy()?,
            times,
            platforms,
            identity: identity.then(|| crate::world::BUILDAH.to_owned()),
            names,
            places,
            outputs,
        })
    }
}

/// Sorts the `--tag` words into names for the store and other places.
fn destinations(tags: &[String]) -> Result<(Vec<Reference>, Vec<TransportRef>)> {
    let (mut names, mut places) = (Vec::new(), Vec::new());
    for tag in tags.iter().filter(|tag| !tag.is_empty()) {
        match tag.split_once(':') {
            Some((transport, _)) if transfer::is_transport(transport) => {
                let place = copying::destination(tag).with_context(|| format!("tag {tag}"))?;
                match place {
                    TransportRef::Storage(place) if place.store.is_none() => {
                        names.extend(place.name);
                    }
                    place => places.push(place),
                }
            }
            _ => names.push(
                Reference::parse_local(tag)
                    .map_err(|error| bad_tag(tag, error))?
                    .with_default_tag(),
            ),
        }
    }
    Ok((names, places))
}

/// Scripts look for `invalid reference format` before the reason.
fn bad_tag(tag: &str, error: model::ReferenceError) -> anyhow::Error {
    let mut text = format!("{:#}", anyhow::Error::from(error));
    if let Some(rest) = text.strip_prefix(&format!("normalizing name {tag:?}: ")) {
        text = rest.to_owned();
    }
    if text.starts_with("invalid reference format") {
        anyhow::anyhow!("tag {tag}: {text}")
    } else {
        anyhow::anyhow!("tag {tag}: invalid reference format: {text}")
    }
}

fn layering(args: &CacheArgs, world: &World) -> Result<Layering> {
    let usual = match world.started_as {
        StartedAs::Cooper => world.var("BUILDAH_LAYERS").is_none() || world.flag("BUILDAH_LAYERS"),
        StartedAs::Buildah => world.flag("BUILDAH_LAYERS"),
    };
    let layers = args.layers.unwrap_or(usual);
    cache_ttl(args)?;
    if (args.rm.is_some() || args.force_rm.is_some()) && !layers && !args.no_cache {
        bail!("'rm' and 'force-rm' can only be set with either 'layers' or 'no-cache'");
    }
    Ok(match (layers, args.no_cache) {
        (true, true) => Layering::PerStep {
            look_up: LookUp::Refresh,
        },
        (true, false) => Layering::PerStep {
            look_up: match cache_ttl(args)? {
                Some(Duration::ZERO) => LookUp::Refresh,
                max_age => LookUp::Use { max_age },
            },
        },
        (false, _) => Layering::AtEnd,
    })
}

/// What stays of stages that are not asked for.
fn stage_images(args: &CacheArgs) -> Result<StageImages> {
    let (saved, labelled) = (args.save_stages, args.stage_labels);
    match (saved.unwrap_or_default(), labelled.unwrap_or_default()) {
        (false, false) => Ok(StageImages::AsNeeded),
        (true, false) => Ok(StageImages::Saved),
        (true, true) => Ok(StageImages::Labelled),
        (false, true) => bail!("\"--stage-labels\" requires \"--save-stages\""),
    }
}

/// How old a result may be that is used.
fn cache_ttl(args: &CacheArgs) -> Result<Option<Duration>> {
    let Some(text) = &args.cache_ttl else {
        return Ok(None);
    };
    let parsed = GoDuration::parse(text).map_err(|error| {
        anyhow::anyhow!("unable to parse value provided {text:?} as --cache-ttl: {error}")
    })?;
    let nanoseconds = u64::try_from(parsed.0).unwrap_or(0);
    Ok(Some(Duration::from_nanos(nanoseconds)))
}

fn jobs(wanted: Option<i64>, world: &World) -> Result<NonZeroUsize> {
    /// As many stages as a file is likely to have.
    const UNLIMITED: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");
    match wanted {
        Some(0) => Ok(UNLIMITED),
        Some(number) => usize::try_from(number)
            .ok()
            .and_then(NonZeroUsize::new)
            .context("building: invalid value for jobs.  It must be a positive integer"),
        None if world.started_as == StartedAs::Buildah => Ok(NonZeroUsize::MIN),
        None => Ok(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
    }
}

fn times(args: &ResultArgs, world: &World) -> Result<BuildTimes> {
    let epoch = args
        .source_date_epoch
        .as_deref()
        .or(world.var("SOURCE_DATE_EPOCH"));
    let epoch = match epoch.filter(|text| !text.is_empty()) {
        Some(text) => Some(
            text.parse::<i64>()
                .with_context(|| format!("parsing source-date-epoch {text:?}"))?,
        ),
        None => None,
    };
    if args.timestamp.is_some() && args.source_date_epoch.is_some() {
        bail!("timestamp and source-date-epoch would be ambiguous if allowed together");
    }
    Ok(BuildTimes {
        files: match (args.timestamp, epoch) {
            (Some(seconds), _) => archive::Times::Fixed(seconds),
            (None, Some(seconds)) if args.rewrite_timestamp => archive::Times::Clamp(seconds),
            (None, _) => archive::Times::Keep,
        },
        created: args
            .timestamp
            .or(epoch)
            .map(Timestamp::from_unix)
            .transpose()?,
    })
}

/// The machines to build for, each once; at least one.
fn platforms(args: &BuildArgs) -> Result<Vec<Platform>> {
    let inputs = &args.inputs;
    let parts = [&inputs.os, &inputs.arch, &inputs.variant];
    let first = inputs.platform.first().map(String::as_str);
    let first = host::platform(first, parts).context("building system context")?;
    let mut platforms = vec![first.unwrap_or_else(Platform::host)];
    for text in inputs.platform.iter().skip(1) {
        let platform = Platform::parse(text).context("building system context")?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// Prints warnings, or every error with its place and line.
fn tell_findings(parsed: &Parsed, ui: &Ui) -> Result<(), Failure> {
    for found in &parsed.diagnostics {
        match found.severity {
            Severity::Warning => ui.warn(&found.render(&parsed.sources)),
            Severity::Error => ui.note(found.render(&parsed.sources)),
        }
    }
    match parsed.first_error() {
        None => Ok(()),
        Some(error) => Err(anyhow::anyhow!(error.full_message()).into()),
    }
}

/// One target for each machine. The names are for the list of all, if there are several.
fn targets(
    args: &BuildArgs,
    (input, contexts): (&BuildInput, &NamedContexts),
    parsed: Parsed,
    shape: &Shape,
    world: &World,
) -> Result<Vec<Target>> {
    let target = target(args, (input, contexts), parsed, shape, world)?;
    if shape.platforms.len() == 1 {
        return Ok(vec![target]);
    }
    let of_platform = |platform: &Platform| {
        let mut target = target.clone();
        target.name = Some(platform.to_string());
        target.platform = platform.clone();
        target.image.names.clear();
        target
    };
    Ok(shape.platforms.iter().map(of_platform).collect())
}

fn target(
    args: &BuildArgs,
    (input, contexts): (&BuildInput, &NamedContexts),
    parsed: Parsed,
    shape: &Shape,
    world: &World,
) -> Result<Target> {
    let inputs = &args.inputs;
    let proxies = if args.steps.http_proxy.unwrap_or(true) {
        host::pairs(&world.proxies())?
    } else {
        Vec::new()
    };
    let env = args
        .result
        .env
        .iter()
        .filter_map(|entry| world.variable(entry))
        .collect::<Vec<_>>();
    Ok(Target {
        name: None,
        file: parsed.into(),
        context: input.directory(inputs.ignorefile.as_deref(), world)?,
        contexts: contexts.all.clone(),
        args: ArgValues {
            given: build_input::build_args(&inputs.build_arg_file, &inputs.build_arg, world)?,
            proxies: proxies.into_iter().collect(),
            source_date_epoch: shape
                .times
                .created
                .filter(|_| args.result.timestamp.is_none())
                .map(|time| time.unix_seconds()),
        },
        platform: shape.platforms[0].clone(),
        build_platform: Platform::host(),
        stage: args.target.clone(),
        unused_stages: match args.skip_unused_stages {
            Some(false) => UnusedStages::Built,
            _ => UnusedStages::Skipped,
        },
        base: args.from.clone(),
        env: host::pairs(&env)?,
        labels: labels(&args.result.label),
        image: image_settings(args, shape),
    })
}

/// A label without a value is an empty one.
fn labels(words: &[String]) -> Vec<(String, String)> {
    let pair = |word: &String| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (name.to_owned(), value.to_owned())
    };
    words.iter().map(pair).collect()
}

fn image_settings(args: &BuildArgs, shape: &Shape) -> ImageSettings {
    let result = &args.result;
    // An annotation without a value is left out.
    let set = result.annotation.iter();
    let unset = set.clone().filter(|word| !word.contains('='));
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    // An image that is to be signed gets its names afterwards.
    let names = match &result.sign_by {
        Some(_) => Vec::new(),
        None => shape.names.clone(),
    };
    ImageSettings {
        names,
        annotations: set
            .filter_map(|word| word.split_once('='))
            .map(owned)
            .collect(),
        identity: shape.identity.clone(),
        created_annotation: match result.created_annotation {
            Some(false) => CreatedAnnotation::LeftOut,
            _ => CreatedAnnotation::Written,
        },
        squash: if result.squash {
            Squash::One
        } else {
            Squash::Layers
        },
        history: if result.omit_history {
            HistoryKept::Omitted
        } else {
            HistoryKept::Kept
        },
        unset_env: result.unsetenv.clone(),
        unset_labels: result.unsetlabel.clone(),
        unset_annotations: unset.chain(&result.unsetannotation).cloned().collect(),
        inherit_labels: inherit(result.inherit_labels),
        inherit_annotations: inherit(result.inherit_annotations),
        layer_labels: labels(&result.layer_label),
        os_version: result.os_version.clone(),
        os_features: result.os_feature.clone(),
        ..ImageSettings::new(shape.format)
    }
}

fn inherit(flag: Option<bool>) -> Inherit {
    match flag {
        Some(false) => Inherit::No,
        _ => Inherit::Yes,
    }
}

/// Opens the file that takes the place of both outputs.
fn log_file(args: &BuildArgs, world: &World) -> Result<Option<File>> {
    let report = &args.report;
    let Some(path) = &report.logfile else {
        if report.logsplit {
            bail!("cannot use --logsplit without --logfile");
        }
        return Ok(None);
    };
    let mut path = world.cwd.join(path).into_os_string();
    // What is of several platforms goes into a file without such an end.
    if report.logsplit
        && let [one] = platforms(args)?.as_slice()
    {
        path.push(format!("_{}_{}", one.os, one.architecture));
    }
    open_log(Path::new(&path)).map(Some)
}

fn open_log(path: &Path) -> Result<File> {
    let mut opening = File::options();
    opening.create(true).write(true).truncate(true).mode(0o600);
    let file = opening.open(path);
    file.with_context(|| format!("opening logfile {:?}", path.display().to_string()))
}

/// Opens the files for what is of one platform of several.
fn split_logs(
    args: &BuildArgs,
    platforms: &[Platform],
    (world, ui): (&World, &Ui),
) -> Result<BTreeMap<String, Ui>> {
    let report = &args.report;
    let Some(path) = report.logfile.as_ref().filter(|_| report.logsplit) else {
        return Ok(BTreeMap::new());
    };
    let split = platforms.iter().filter(|_| platforms.len() > 1);
    let split = split.map(|platform| {
        let name = platform.to_string();
        let mut path = world.cwd.join(path).into_os_string();
        path.push(format!("_{}", name.replace('/', "_")));
        Ok((name, ui.with_file(open_log(Path::new(&path))?)))
    });
    split.collect()
}

fn run_settings(args: &BuildArgs, world: &World) -> Result<RunSettings> {
    let mut process =
        ProcessSettings::resolve(&args.steps.process, default_capabilities(world)?, world)?;
    process.resolve_by(&args.steps.resolver, world)?;
    let volumes = process::volume_words(&args.steps.process, world);
    let volumes = process::volumes(&volumes, world).context("validating volumes")?;
    let isolation = process.isolation.unwrap_or_default();
    let mut options = RunOptions::default();
    resources::record(&args.steps.resources, &mut options)?;
    let security = Security::parse(&args.steps.security_opt, world)?;
    let configured = namespace_options::configured(world);
    let mut namespaces = namespace_options::choose(&args.steps.namespaces, configured, world)?;
    let ids = user_maps::choose(&args.steps.users, &mut namespaces, world)?;
    let users = ids.of_process(&namespaces);
    Ok(RunSettings {
        input: if args.steps.stdin {
            StepInput::Callers
        } else {
            StepInput::Empty
        },
        devices: process.devices.clone(),
        seccomp: security.seccomp,
        privileges: security.privileges,
        isolation,
        network: networks::chosen(process.network.clone(), isolation, world),
        networks: Arc::new(networks::pool(isolation, world)?),
        namespaces: namespaces.choices(),
        users: users.context("reading the ids of this user namespace")?,
        root_change: namespace_options::root_change(false, world),
        etc: etc_files(&args.steps, &process),
        given: build_input::given(&args.inputs.secret, &args.inputs.ssh, world)
            .context("creating build executor")?,
        volumes,
        volume_changes: if args.steps.compat_volumes {
            VolumeChanges::Dropped
        } else {
            VolumeChanges::Kept
        },
        control_group: resources::control_group(&options, isolation),
        groups: resources::added_groups(&args.steps.group_add)?,
        host_files: process.host_files,
        limits: process.limits,
        shm_size: process.shm_size,
        capabilities: process.capabilities,
        hostname: (args.result.timestamp.is_some() || args.result.source_date_epoch.is_some())
            .then(|| "sandbox".to_owned()),
    })
}

fn etc_files(args: &StepArgs, process: &ProcessSettings) -> EtcFiles {
    let mut etc = process.etc_files((!args.no_hostname).then_some(""));
    if args.no_hosts {
        etc.hosts = None;
    }
    etc
}

/// Shows where a build failed, and takes over the status of a process.
fn failure(error: BuildError, ui: &Ui) -> Failure {
    if let Some(place) = error.location() {
        ui.note(format_args!("{place}\n{}", place.excerpt));
    }
    let status = error
        .exit_status()
        .and_then(|status| u8::try_from(status).ok());
    Failure::with_status(error, status.unwrap_or(FAILED))
}
