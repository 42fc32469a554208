//! Images that a command wants: found in the store, or brought there first from wherever their names lead.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, bail};
use builder::container::BaseImage;
use model::event::{Event, Reporter};
use model::{Document, ImageConfig, ImageId, Platform, Reference};
use store::Store;
use transfer::{
    BegunPull, CopyOptions, CopyScope, Found, LookupError, NameRules, ShortNameError,
    TransferError, TransportRef, Tried,
};

use super::copying;
use super::short_names::{self, Candidates, Memory};
use super::systemd::MoreTime;
use crate::args::GlobalArgs;
use crate::args::access::{AccessArgs, PullPolicy};
use crate::failure::Failure;
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// How images are brought here, as the host's configuration and the flags say.
#[derive(Debug, Clone)]
pub struct Ways {
    /// What names without a registry mean.
    pub rules: NameRules,
    /// How other places are read; the platform is the one to choose from lists.
    pub options: CopyOptions,
    /// The platform that the user asks for, when it is not simply this machine's.
    pub platform: Option<Platform>,
    /// When to look beyond the store.
    pub policy: PullPolicy,
    /// Where choices among registries are remembered.
    pub memory: Memory,
    /// Who is asked for more time while an image is copied (`NOTIFY_SOCKET`).
    pub notify: Option<String>,
}

impl Ways {
    /// Reads the configuration; nothing is asked for but what flags about registries say.
    pub fn read(
        access: &AccessArgs,
        global: &GlobalArgs,
        world: &World,
        ui: &Ui,
    ) -> Result<Self, Failure> {
        Ok(Self {
            rules: short_names::rules(global, world, ui)?,
            options: copying::options(access, global, world, ui)?,
            platform: None,
            policy: PullPolicy::Missing,
            memory: Memory::of(global, world),
            notify: world.var("NOTIFY_SOCKET").map(str::to_owned),
        })
    }

    /// Asks for a platform.
    #[must_use]
    pub fn for_platform(mut self, platform: Option<Platform>) -> Self {
        self.options.platform = platform.clone().unwrap_or_else(Platform::host);
        self.platform = platform;
        self
    }
}

/// Brings images into a store.
pub struct Puller<'a> {
    /// The store.
    pub store: &'a Store,
    /// How.
    pub ways: &'a Ways,
    /// Who is told.
    pub reporter: &'a dyn Reporter,
}

/// An image that is in the store now.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub id: ImageId,
    /// The name that it was found or fetched under; what the user typed, if it has none.
    pub name: String,
}

/// An image that is wanted, before or after its layers have come.
pub enum Arriving {
    /// It is in the store.
    Here(Pulled),
    /// What it is is known; its layers are still elsewhere.
    Begun(Box<Begun>),
}

/// A pull that waits for somebody to want the layers.
pub struct Begun {
    pull: BegunPull,
    /// The name that it is fetched under.
    pub name: String,
    /// The platform that the user asks for, when it is not simply this machine's.
    platform: Option<Platform>,
    /// A choice among registries to remember when the image has come.
    choice: Option<(String, Reference)>,
}

impl Begun {
    /// Returns what the image will be in the store.
    pub fn base_image(&self) -> BaseImage {
        let manifest = self.pull.manifest();
        BaseImage {
            id: self.pull.image(),
            name: self.name.clone(),
            layer: self.pull.top_layer().cloned(),
            config: self.pull.config().to_vec(),
            manifest: manifest.bytes().to_vec(),
            digest: manifest.digest(),
            annotations: manifest.manifest().annotations.clone(),
        }
    }
}

/// What is to be done about a name that leads to a registry.
enum Decision {
    /// What is in the store will do.
    Here(Pulled),
    /// It is to be fetched.
    Fetch(Wanted),
}

/// An image that is to be fetched from a registry.
struct Wanted {
    /// What the store has under the name.
    local: Option<Found>,
    /// What was looked for in the store in vain.
    tried: Option<Tried>,
    /// Whether what the store has will do when nothing newer can be had.
    policy: PullPolicy,
}

impl Wanted {
    fn fallback(&self) -> Option<&Found> {
        let newer = self.policy == PullPolicy::Newer;
        self.local.as_ref().filter(|_| newer)
    }

    /// Adds what was looked for in the store, when no registry could be asked: it is all that can help then.
    fn explained(self, error: anyhow::Error) -> anyhow::Error {
        match (error.downcast_ref::<ShortNameError>(), self.tried) {
            (Some(unresolved), Some(tried)) => {
                anyhow::Error::from(tried).context(unresolved.clone())
            }
            _ => error,
        }
    }
}

impl Puller<'_> {
    /// Returns the images that `text` means; several only for an archive of several.
    pub fn pull(&self, text: &str) -> Result<Vec<Pulled>> {
        match other_place(text)? {
            Some(TransportRef::Docker(name)) => self.registry_image(&name.to_string()),
            Some(place) => self.place_images(&place, text),
            None => {
                refuse_odd_domain(text)?;
                self.registry_image(text)
            }
        }
    }

    /// Returns the one image that `text` means.
    pub fn pull_one(&self, text: &str) -> Result<Pulled> {
        let pulled = self.pull(text)?.into_iter().next();
        pulled.with_context(|| format!("{text}: there is no image"))
    }

    /// Finds out which one image `text` means, and leaves its layers where they are if they are not here and nothing
    /// else could take its place: only one place is asked for it, and the store has no older one.
    pub fn begin_one(&self, text: &str) -> Result<Arriving> {
        match other_place(text)? {
            Some(TransportRef::Docker(name)) => self.begin_registry(&name.to_string()),
            // Several images may come of it.
            Some(TransportRef::DockerArchive { .. }) => Ok(Arriving::Here(self.pull_one(text)?)),
            Some(place) => {
                let _time = MoreTime::ask(self.ways.notify.as_deref());
                let begun = BegunPull::new(&place, self.store, &self.ways.options, self.reporter);
                let pull = begun.map_err(|error| not_copied(error, &place))?;
                let name = pull.names().first().cloned();
                self.unless_here(Begun {
                    name: name.unwrap_or_else(|| text.to_owned()),
                    pull,
                    platform: self.ways.platform.clone(),
                    choice: None,
                })
            }
            None => {
                refuse_odd_domain(text)?;
                self.begin_registry(text)
            }
        }
    }

    fn begin_registry(&self, text: &str) -> Result<Arriving> {
        let wanted = match self.decide(text)? {
            Decision::Here(pulled) => return Ok(Arriving::Here(pulled)),
            Decision::Fetch(wanted) => wanted,
        };
        let began = self.candidates_for(text, &wanted).and_then(|candidates| {
            match candidates.names.as_slice() {
                [name] if wanted.fallback().is_none() => self.begin(text, name, candidates.chosen),
                _ => Ok(Arriving::Here(self.fetch_first(text, candidates, &wanted)?)),
            }
        });
        began.map_err(|error| wanted.explained(error))
    }

    fn begin(&self, text: &str, name: &Reference, chosen: bool) -> Result<Arriving> {
        self.reporter.event(Event::Pulling {
            name: name.to_string(),
        });
        let _time = MoreTime::ask(self.ways.notify.as_deref());
        let source = TransportRef::Docker(name.clone());
        let begun = BegunPull::new(&source, self.store, &self.ways.options, self.reporter);
        let pull = begun.map_err(|error| not_copied(error, &source))?;
        self.unless_here(Begun {
            pull,
            name: name.to_string(),
            platform: self.ways.platform.clone(),
            choice: chosen.then(|| (text.to_owned(), name.clone())),
        })
    }

    /// Ends a pull at once whose image is in the store: nothing much is left to move.
    fn unless_here(&self, begun: Begun) -> Result<Arriving> {
        if self.store.images()?.get(&begun.pull.image()).is_none() {
            return Ok(Arriving::Begun(Box::new(begun)));
        }
        let never = Arc::default();
        Ok(Arriving::Here(self.finish(begun, &never)?))
    }

    /// Brings the layers of an image whose pull has begun, unless `stop` becomes true meanwhile.
    pub fn finish(&self, begun: Begun, stop: &Arc<AtomicBool>) -> Result<Pulled> {
        let _time = MoreTime::ask(self.ways.notify.as_deref());
        let place = begun.pull.source().clone();
        let copied = begun.pull.finish(stop, self.reporter);
        let copied = copied.map_err(|error| not_copied(error, &place))?;
        let name = begun.name;
        let id = copied.image;
        let id = id.with_context(|| format!("{name}: there is no image"))?;
        if matches!(place, TransportRef::Docker(_)) {
            self.warn_of_platform(&id, begun.platform.as_ref())?;
        }
        if let Some((text, name)) = &begun.choice {
            self.ways.memory.remember(text, name)?;
        }
        Ok(Pulled { id, name })
    }

    /// Fetches every tag of a repository.
    pub fn pull_all_tags(&self, text: &str) -> Result<Vec<Pulled>> {
        let resolved = match other_place(text)? {
            Some(TransportRef::Docker(name)) => vec![name],
            Some(place) => bail!(
                "pulling all tags is not supported for {} transport",
                place.transport()
            ),
            None => self.candidates(text)?.names,
        };
        let mut failures = Vec::new();
        for candidate in resolved {
            let repository = candidate.repository();
            match transfer::tags(&repository, &self.ways.options) {
                Ok(tags) => {
                    let mut pulled = Vec::new();
                    for tag in tags {
                        let tagged = repository.with_tag(&tag)?;
                        pulled.extend(self.registry_image(&tagged.to_string())?);
                    }
                    return Ok(pulled);
                }
                Err(error) => failures.push(anyhow::Error::from(error)),
            }
        }
        Err(joined(failures))
    }

    /// Reads an archive, a folder or the like: always, as its content may be new.
    fn place_images(&self, place: &TransportRef, text: &str) -> Result<Vec<Pulled>> {
        let _time = MoreTime::ask(self.ways.notify.as_deref());
        let copied = transfer::pull(place, self.store, &self.ways.options, self.reporter)
            .map_err(|error| not_copied(error, place))?;
        Ok(copied
            .into_iter()
            .filter_map(|copied| {
                let name = copied.names.first().cloned();
                Some(Pulled {
                    id: copied.image?,
                    name: name.unwrap_or_else(|| text.to_owned()),
                })
            })
            .collect())
    }

    fn registry_image(&self, text: &str) -> Result<Vec<Pulled>> {
        let wanted = match self.decide(text)? {
            Decision::Here(pulled) => return Ok(vec![pulled]),
            Decision::Fetch(wanted) => wanted,
        };
        let candidates = self.candidates_for(text, &wanted);
        match candidates.and_then(|candidates| self.fetch_first(text, candidates, &wanted)) {
            Ok(pulled) => Ok(vec![pulled]),
            Err(error) => Err(wanted.explained(error)),
        }
    }

    /// Decides by the policy whether what the store has will do.
    fn decide(&self, text: &str) -> Result<Decision> {
        let (local, tried) = self.local(text)?;
        let policy = match self.ways.policy {
            // What is here may be for another machine under the same name.
            PullPolicy::Missing if self.ways.platform.is_some() => PullPolicy::Newer,
            other => other,
        };
        match (policy, &local) {
            (PullPolicy::Never | PullPolicy::Missing, Some(found))
            | (PullPolicy::Newer, Some(found @ Found { name: None, .. })) => {
                Ok(Decision::Here(self.found(text, found)))
            }
            (PullPolicy::Never, None) => bail!("{text}: image not known"),
            (PullPolicy::Always, Some(Found { name: None, .. })) => {
                bail!("pull policy is always but image has been referred to by ID ({text})")
            }
            _ => Ok(Decision::Fetch(Wanted {
                local,
                tried,
                policy,
            })),
        }
    }

    /// Looks in the store, and tells what was looked for in vain.
    fn local(&self, text: &str) -> Result<(Option<Found>, Option<Tried>)> {
        match transfer::lookup(
            self.store,
            text,
            &self.ways.rules,
            self.ways.platform.as_ref(),
        ) {
            Ok(found) => match self.damage(&found) {
                Some(damage) if self.ways.policy != PullPolicy::Never => {
                    let text = format!("{text}: the image in the store cannot be used: {damage:#}");
                    self.reporter.event(Event::Warning { text });
                    Ok((None, None))
                }
                _ => Ok((Some(found), None)),
            },
            Err(error @ LookupError::IdFormat { .. }) => Err(error.into()),
            Err(LookupError::NotFound { source, .. }) => Ok((None, Some(source))),
            Err(error) if error.is_not_found() => Ok((None, None)),
            Err(error) => Err(error.into()),
        }
    }

    /// Says what is wrong with an image whose documents or layers are gone; fetching it again mends it.
    fn damage(&self, found: &Found) -> Option<anyhow::Error> {
        let check = || -> Result<()> {
            self.store.image_manifest(&found.image.id)?;
            self.store.image_config(&found.image.id)?;
            if let Some(layer) = &found.image.layer {
                self.store.chain(layer)?;
            }
            Ok(())
        };
        check().err()
    }

    fn found(&self, text: &str, found: &Found) -> Pulled {
        Pulled {
            id: found.image.id.clone(),
            name: text.to_owned(),
        }
    }

    fn candidates(&self, text: &str) -> Result<Candidates> {
        let mut candidates = short_names::resolve(&self.ways.rules, text)?;
        if let Some(text) = candidates.explanation.take() {
            self.reporter.event(Event::ShortNameResolved { text });
        }
        Ok(candidates)
    }

    /// The names in registries under which an image is looked for.
    fn candidates_for(&self, text: &str, wanted: &Wanted) -> Result<Candidates> {
        let known = wanted.local.as_ref().and_then(|found| found.name.clone());
        let Some(name) = known else {
            return self.candidates(text);
        };
        Ok(Candidates {
            names: vec![name],
            explanation: None,
            chosen: false,
        })
    }

    /// Fetches the first of several images that can be had.
    fn fetch_first(&self, text: &str, candidates: Candidates, wanted: &Wanted) -> Result<Pulled> {
        let fallback = wanted.fallback();
        let mut failures = Vec::new();
        for name in candidates.names {
            match self.unchanged(&name, fallback) {
                Ok(Some(found)) => return Ok(self.found(text, found)),
                Ok(None) => {}
                Err(error) => {
                    failures.push(error);
                    continue;
                }
            }
            match self.fetch(&name) {
                Ok(pulled) => {
                    if candidates.chosen {
                        self.ways.memory.remember(text, &name)?;
                    }
                    return Ok(pulled);
                }
                Err(error) => failures.push(error),
            }
        }
        match fallback {
            // What is here is good enough when nothing newer can be had.
            Some(found) => Ok(self.found(text, found)),
            None => Err(joined(failures)),
        }
    }

    /// Returns the local image if the registry has the same.
    fn unchanged<'f>(
        &self,
        name: &Reference,
        local: Option<&'f Found>,
    ) -> Result<Option<&'f Found>> {
        let Some(found) = local else { return Ok(None) };
        let place = TransportRef::Docker(name.clone());
        // The digest is enough: the scope asks for no image.
        let options = CopyOptions {
            scope: CopyScope::Instances(Vec::new()),
            ..self.ways.options.clone()
        };
        let digest = match transfer::look(&place, None, &options)?.top {
            Document::Manifest(manifest) => manifest.digest(),
            // Of a list the image counts that would be fetched.
            Document::Index(list) => match list.index().choose(&options.platform) {
                Some(entry) => entry.digest.clone(),
                None => list.digest(),
            },
        };
        let same = found.image.digests().any(|known| *known == digest);
        Ok(same.then_some(found))
    }

    fn fetch(&self, name: &Reference) -> Result<Pulled> {
        self.reporter.event(Event::Pulling {
            name: name.to_string(),
        });
        let _time = MoreTime::ask(self.ways.notify.as_deref());
        let source = TransportRef::Docker(name.clone());
        let copied = transfer::pull(&source, self.store, &self.ways.options, self.reporter)
            .map_err(|error| not_copied(error, &source))?;
        let id = copied.into_iter().find_map(|copied| copied.image);
        let id = id.with_context(|| format!("{name}: there is no image"))?;
        self.warn_of_platform(&id, self.ways.platform.as_ref())?;
        Ok(Pulled {
            id,
            name: name.to_string(),
        })
    }

    /// A registry may have one image for all machines under the name; it is kept.
    fn warn_of_platform(&self, id: &ImageId, expected: Option<&Platform>) -> Result<()> {
        let Some(expected) = expected else {
            return Ok(());
        };
        let config = ImageConfig::parse(&self.store.image_config(id)?)
            .with_context(|| format!("examining image {id}"))?;
        let found = config.platform();
        if !fits(expected, &found) {
            self.reporter.event(Event::Warning {
                text: format!(
                    "image platform ({found}) does not match the expected platform ({expected})"
                ),
            });
        }
        Ok(())
    }
}

fn not_copied(error: TransferError, place: &TransportRef) -> anyhow::Error {
    let error = anyhow::Error::from(error).context(format!("unable to copy from source {place}"));
    match place {
        TransportRef::Docker(_) => error,
        _ => error.context("unable to perform copy"),
    }
}

/// A host has no capital letters; Buildah then says that it expected a transport.
fn refuse_odd_domain(text: &str) -> Result<()> {
    match text.split_once('/') {
        Some((domain, _))
            if domain.contains(char::is_uppercase) && !domain.contains(['.', ':']) =>
        {
            bail!("Invalid image name {text:?}, expected colon-separated transport:reference")
        }
        _ => Ok(()),
    }
}

/// Whether an image is for a machine; a variant that was not asked for is no obstacle.
fn fits(expected: &Platform, found: &Platform) -> bool {
    let found = found.clone().normalized();
    let loose = expected.variant.is_none()
        && (&expected.os, &expected.architecture) == (&found.os, &found.architecture);
    loose || expected.clone().normalized().same_machine(&found)
}

fn joined(mut failures: Vec<anyhow::Error>) -> anyhow::Error {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let mut text = format!("{} errors occurred while pulling:", failures.len());
    for failure in &failures {
        text.push_str(&format!("\n * {}", crate::failure::in_go_words(failure)));
    }
    anyhow::anyhow!(text)
}

/// Returns the image that `text` means, brought here with the host's configuration if it is missing.
pub fn bring(
    store: &Store,
    text: &str,
    (global, world, ui): (&GlobalArgs, &World, &Ui),
) -> Result<Pulled, Failure> {
    let ways = Ways::read(&AccessArgs::default(), global, world, ui)?;
    let puller = Puller {
        store,
        ways: &ways,
        reporter: &CopyLines::new(ui, Told::All),
    };
    Ok(puller.pull_one(text)?)
}

/// Loads a pulled image to start a container from.
pub fn base_image(store: &Store, pulled: &Pulled) -> Result<BaseImage> {
    Ok(BaseImage::load(store, &pulled.id, &pulled.name)?)
}

/// Parses `text` as a transport and its words, if it begins with a transport's name.
pub fn other_place(text: &str) -> Result<Option<TransportRef>> {
    match text.split_once(':') {
        Some((transport, rest)) if transfer::is_transport(transport) => {
            // `docker:1` is a repository with a tag.
            if transport == "docker" && !rest.starts_with("//") {
                return Ok(None);
            }
            match TransportRef::parse(text)? {
                // A name in this store: found there, with what the store knows of names.
                TransportRef::Storage(place) if place.store.is_none() => Ok(None),
                source => Ok(Some(source)),
            }
        }
        _ => Ok(None),
    }
}
