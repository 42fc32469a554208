//! Images that a command wants: found in the store, or brought there first from wherever their names lead.

use anyhow::{Context as _, Result, bail};
use builder::container::BaseImage;
use model::event::{Event, Reporter};
use model::{Document, ImageConfig, ImageId, Platform, Reference};
use store::Store;
use transfer::{
    CopyOptions, CopyScope, Found, LookupError, NameRules, ShortNameError, TransportRef, Tried,
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
            .with_context(|| format!("unable to copy from source {place}"))
            .context("unable to perform copy")?;
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
        let (local, tried) = self.local(text)?;
        let policy = match self.ways.policy {
            // What is here may be for another machine under the same name.
            PullPolicy::Missing if self.ways.platform.is_some() => PullPolicy::Newer,
            other => other,
        };
        match (policy, &local) {
            (PullPolicy::Never | PullPolicy::Missing, Some(found)) => {
                return Ok(vec![self.found(text, found)]);
            }
            (PullPolicy::Never, None) => bail!("{text}: image not known"),
            (PullPolicy::Always, Some(Found { name: None, .. })) => {
                bail!("pull policy is always but image has been referred to by ID ({text})")
            }
            (PullPolicy::Newer, Some(found @ Found { name: None, .. })) => {
                return Ok(vec![self.found(text, found)]);
            }
            _ => {}
        }
        let newer = local.as_ref().filter(|_| policy == PullPolicy::Newer);
        let fetched = self.fetch_first(text, local.as_ref(), newer);
        match (fetched, newer) {
            (Ok(pulled), _) => Ok(vec![pulled]),
            // What is here is good enough when nothing newer can be had.
            (Err(_), Some(found)) => Ok(vec![self.found(text, found)]),
            (Err(error), None) => Err(match (error.downcast_ref::<ShortNameError>(), tried) {
                // No registry was asked; what was looked for here is all that can help.
                (Some(unresolved), Some(tried)) => {
                    anyhow::Error::from(tried).context(unresolved.clone())
                }
                _ => error,
            }),
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

    fn fetch_first(
        &self,
        text: &str,
        local: Option<&Found>,
        newer: Option<&Found>,
    ) -> Result<Pulled> {
        let (names, chosen) = match local.and_then(|found| found.name.clone()) {
            Some(name) => (vec![name], false),
            None => {
                let candidates = self.candidates(text)?;
                (candidates.names, candidates.chosen)
            }
        };
        let mut failures = Vec::new();
        for name in names {
            match self.unchanged(&name, newer) {
                Ok(Some(found)) => return Ok(self.found(text, found)),
                Ok(None) => {}
                Err(error) => {
                    failures.push(error);
                    continue;
                }
            }
            match self.fetch(&name) {
                Ok(pulled) => {
                    if chosen {
                        self.ways.memory.remember(text, &name)?;
                    }
                    return Ok(pulled);
                }
                Err(error) => failures.push(error),
            }
        }
        Err(joined(failures))
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
            .with_context(|| format!("unable to copy from source docker://{name}"))?;
        let id = copied.into_iter().find_map(|copied| copied.image);
        let id = id.with_context(|| format!("{name}: there is no image"))?;
        self.warn_of_platform(&id)?;
        Ok(Pulled {
            id,
            name: name.to_string(),
        })
    }

    /// A registry may have one image for all machines under the name; it is kept.
    fn warn_of_platform(&self, id: &ImageId) -> Result<()> {
        let Some(expected) = &self.ways.platform else {
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
