//! Repositories of registries as caches of a build.

use anyhow::Result;
use model::event::Silent;
use model::{Digest, Document, ImageConfig, ImageId, RawManifest, Reference};
use solve::{RemoteCache, RemoteCaches, RemoteError, RemoteImage};
use store::Store;
use transfer::{CopyOptions, CopyScope, Looked, Retry, StorageRef, TransferError, TransportRef};

/// A repository that results are looked for in, or put into.
struct Repository<'a> {
    name: Reference,
    text: String,
    store: &'a Store,
    options: &'a CopyOptions,
}

/// Returns the repositories of `--cache-from` and `--cache-to`, reached as `options` say.
pub fn caches<'a>(
    repositories: &Repositories,
    store: &'a Store,
    options: &'a CopyOptions,
) -> RemoteCaches<'a> {
    let all = |names: &[Reference]| {
        let cache = |name: &Reference| -> Box<dyn RemoteCache + 'a> {
            Box::new(Repository {
                name: name.clone(),
                text: name.to_string(),
                store,
                options,
            })
        };
        names.iter().map(cache).collect()
    };
    RemoteCaches {
        from: all(&repositories.from),
        to: all(&repositories.to),
    }
}

/// The repositories of `--cache-from` and of `--cache-to`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repositories {
    /// Where results are looked for.
    pub from: Vec<Reference>,
    /// Where results are put.
    pub to: Vec<Reference>,
}

impl Repositories {
    /// Parses names, which have neither tag nor digest.
    pub fn parse(from: &[String], to: &[String]) -> Result<Self> {
        // Buildah shows the values of the one flag in errors about either.
        let shown = to.join(" ");
        Ok(Self {
            from: repositories("cache-from", from, &shown)?,
            to: repositories("cache-to", to, &shown)?,
        })
    }
}

fn repositories(flag: &str, texts: &[String], shown: &str) -> Result<Vec<Reference>> {
    let mut names: Vec<Reference> = Vec::new();
    for text in texts {
        let refuse = |why: String| {
            anyhow::anyhow!("unable to parse value provided `[{shown}]` to --{flag}: {why}")
        };
        let name = Reference::parse_normalized(text).map_err(|error| {
            refuse(format!(
                "invalid repo {text:?}: must contain registry and repository: {error}"
            ))
        })?;
        if name.tag().is_some() || name.digest().is_some() {
            return Err(refuse(format!(
                "repository must contain neither a tag nor digest: {name}"
            )));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

impl Repository<'_> {
    fn tagged(&self, tag: &str) -> Result<TransportRef, RemoteError> {
        Ok(TransportRef::Docker(self.name.with_tag(tag)?))
    }

    /// Looks at what a tag leads to. A cache is not worth waiting for: nothing is tried again.
    fn look(&self, tag: &str, scope: CopyScope) -> Result<Option<Looked>, RemoteError> {
        let options = CopyOptions {
            scope,
            retry: Retry::default(),
            ..self.options.clone()
        };
        match transfer::look(&self.tagged(tag)?, None, &options) {
            Ok(looked) => Ok(Some(looked)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_missing(error: &TransferError) -> bool {
    error
        .registry_error()
        .is_some_and(registry::RegistryError::is_not_found)
}

impl RemoteCache for Repository<'_> {
    fn name(&self) -> &str {
        &self.text
    }

    fn manifest(&self, tag: &str) -> Result<Option<RawManifest>, RemoteError> {
        let looked = self.look(tag, CopyScope::Instances(Vec::new()))?;
        Ok(looked.and_then(|looked| match looked.top {
            Document::Manifest(manifest) => Some(manifest),
            Document::Index(_) => None,
        }))
    }

    fn image(&self, tag: &str) -> Result<Option<RemoteImage>, RemoteError> {
        let looked = self.look(tag, CopyScope::System)?;
        let Some(image) = looked.and_then(|looked| looked.image) else {
            return Ok(None);
        };
        let config = &image.manifest.manifest().config.digest;
        let Some(id) = ImageId::from_config_digest(config) else {
            return Ok(None);
        };
        Ok(Some(RemoteImage {
            id,
            config: ImageConfig::parse(&image.config)?,
        }))
    }

    fn bring(&self, manifest: &Digest) -> Result<ImageId, RemoteError> {
        let source = TransportRef::Docker(self.name.with_digest(manifest.clone()));
        let nameless = TransportRef::Storage(StorageRef {
            store: None,
            name: None,
            id: None,
            text: String::new(),
        });
        let copied = transfer::copy(&source, &nameless, Some(self.store), self.options, &Silent)?;
        let image = copied.image;
        image.ok_or_else(|| format!("{source} has not become an image").into())
    }

    fn push(&self, image: &ImageId, tag: &str) -> Result<(), RemoteError> {
        let source = TransportRef::stored_id(image);
        let destination = self.tagged(tag)?;
        transfer::copy(
            &source,
            &destination,
            Some(self.store),
            self.options,
            &Silent,
        )?;
        Ok(())
    }
}
