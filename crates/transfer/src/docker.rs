//! Reading `docker://`: a registry, or one of its mirrors.
//!
//! The first endpoint that has the manifest serves all blobs. Whatever the mirror, an image keeps the name that was asked
//! for.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Descriptor, Digest, Document, Reference};
use registry::{ManifestRef, Partials, RegistryError, Repository};
use trust::Signature;

use crate::error::{MirrorFailure, MirrorFailures, Result, TransferError};
use crate::registries::{Purpose, Registries, Route};
use crate::schema1;
use crate::signatures::{Candidate, Guard, Remote, SignaturePlaces, SignaturesError};
use crate::source::{Blobs, Library, parse};

/// What a name asks a registry for.
pub(crate) fn manifest_ref(name: &Reference) -> Option<ManifestRef> {
    match (name.digest(), name.tag()) {
        (Some(digest), _) => Some(ManifestRef::Digest(digest.clone())),
        (None, Some(tag)) => Some(ManifestRef::Tag(tag.to_owned())),
        (None, None) => None,
    }
}

/// A repository from which documents and blobs are read.
pub(crate) struct Repo {
    host: String,
    path: String,
    name: Reference,
    places: Arc<dyn SignaturePlaces>,
    repository: Repository,
    partials: Option<Partials>,
    /// The layers whose download has begun, with what was there of them.
    begun: Mutex<Vec<(Digest, u64)>>,
}

impl Repo {
    fn new(route: Route, registries: &Registries, places: &Arc<dyn SignaturePlaces>) -> Self {
        Self {
            host: route.located.host,
            path: route.located.name.path().to_owned(),
            name: route.located.name,
            places: Arc::clone(places),
            repository: route.repository,
            partials: registries.partials().cloned(),
            begun: Mutex::default(),
        }
    }

    /// Downloads a layer of which nobody has said how large it is.
    fn unsized_layer(&self, digest: &Digest) -> Result<Box<dyn Read + Send + '_>> {
        let body = self.repository.download(digest, None, None)?;
        Ok(Box::new(body))
    }

    fn begun(&self) -> MutexGuard<'_, Vec<(Digest, u64)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs for Repo {
    fn manifest(&self, digest: &Digest, _limit: u64) -> Result<Vec<u8>> {
        let fetched = self
            .repository
            .manifest(&ManifestRef::Digest(digest.clone()))?;
        Ok(fetched.bytes)
    }

    fn config(&self, config: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        if config.size > limit {
            return Err(TransferError::TooLarge {
                path: config.digest.as_str().into(),
                size: config.size,
                limit,
            });
        }
        let body = self
            .repository
            .download(&config.digest, Some(config.size), None)?;
        let mut bytes = Vec::new();
        let read = body.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(from_stream)?;
        Ok(bytes)
    }

    fn layer(&self, layer: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        let (digest, size, partials) = (&layer.digest, Some(layer.size), self.partials.as_ref());
        let web = |url: &&String| url.starts_with("http://") || url.starts_with("https://");
        let urls: Vec<String> = layer.urls.iter().filter(web).cloned().collect();
        let body = if urls.is_empty() {
            self.repository.download(digest, size, partials)?
        } else {
            self.repository
                .download_from(&urls, digest, size, partials)?
        };
        self.begun().push((digest.clone(), body.resumed()));
        Ok(Box::new(body))
    }

    fn settle(&self) {
        if let Some(partials) = &self.partials {
            for (digest, _) in self.begun().drain(..) {
                partials.forget(&digest);
            }
        }
    }

    fn resumed(&self, layer: &Digest) -> u64 {
        let begun = self.begun();
        let known = begun.iter().rev().find(|(digest, _)| digest == layer);
        known.map_or(0, |(_, resumed)| *resumed)
    }

    fn repository(&self) -> Option<(&str, &str)> {
        Some((&self.host, &self.path))
    }

    fn signatures(
        &self,
        manifest: &Digest,
    ) -> std::result::Result<Vec<Signature>, SignaturesError> {
        Remote::find(&self.repository, &self.name, &*self.places)?.read(manifest)
    }
}

/// Finds the registry's own error in what a stream failed with.
pub(crate) fn from_stream(error: io::Error) -> TransferError {
    match error.downcast::<RegistryError>() {
        Ok(error) => error.into(),
        Err(error) => TransferError::Stream(error),
    }
}

/// Opens what a name leads to.
pub(crate) fn open(
    label: &str,
    name: &Reference,
    registries: &Registries,
    places: &Arc<dyn SignaturePlaces>,
    guard: &Guard,
    temporary: &Path,
) -> Result<Library<'static>> {
    let wanted = manifest_ref(name).ok_or_else(|| TransferError::NoTagOrDigest {
        name: name.to_string(),
    })?;
    let mut failures = Vec::new();
    for route in registries.routes(name, Purpose::Pull)? {
        let at = route.located.name.clone();
        match fetch(label, &route, &wanted) {
            Ok(top) => {
                let repo = Repo::new(route, registries, places);
                let mut names = vec![name.to_string()];
                let (top, blobs, guard): (_, Arc<dyn Blobs>, _) = match top {
                    Top::Document(top) => (top, Arc::new(repo), guard.clone()),
                    Top::Schema1(payload) => {
                        let candidate = Candidate {
                            digest: Digest::sha256(&payload),
                            manifest: &payload,
                            signatures: &|digest| repo.signatures(digest),
                        };
                        let fetch = |digest: &Digest| repo.unsized_layer(digest);
                        let (converted, guard) =
                            schema1::admit(label, &candidate, guard, &fetch, temporary)?;
                        let document = Document::Manifest(converted.manifest.clone());
                        // What it has become has another digest than the one in such a name.
                        names.retain(|_| name.digest().is_none());
                        (document, Arc::new(converted), guard)
                    }
                };
                return Ok(Library {
                    place: label.to_owned(),
                    guard,
                    top,
                    names,
                    blobs,
                });
            }
            Err(error) => failures.push(MirrorFailure { name: at, error }),
        }
    }
    let opening = |source| TransferError::Open {
        place: label.to_owned(),
        source: Box::new(source),
    };
    match failures.pop() {
        None => Err(opening(TransferError::NoEndpoint {
            name: name.to_string(),
        })),
        Some(primary) if failures.is_empty() => Err(opening(primary.error)),
        Some(primary) => Err(opening(TransferError::Mirrors {
            mirrors: MirrorFailures(failures),
            name: primary.name.to_string(),
            source: Box::new(primary.error),
        })),
    }
}

/// What a name leads to.
enum Top {
    Document(Document),
    /// A manifest of Docker's first format, without signatures.
    Schema1(Vec<u8>),
}

fn fetch(label: &str, route: &Route, wanted: &ManifestRef) -> Result<Top> {
    let fetched = route.repository.manifest(wanted)?;
    let payload = schema1::payload(&fetched.bytes);
    if let ManifestRef::Digest(digest) = wanted
        && !digest.verify(payload.as_ref().unwrap_or(&fetched.bytes))
    {
        return Err(TransferError::OtherDigest {
            expected: digest.clone(),
            actual: fetched.digest,
        });
    }
    if let Some(payload) = payload {
        return Ok(Top::Schema1(payload));
    }
    let document = parse(label, fetched.bytes)?;
    check_type(label, &document, &fetched.media_type)?;
    Ok(Top::Document(document))
}

/// A registry that calls a list an image, or the other way round, is not to be believed.
fn check_type(label: &str, document: &Document, declared: &str) -> Result<()> {
    use model::media_type::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
    let wrong = match document {
        Document::Manifest(_) => [OCI_INDEX, DOCKER_LIST],
        Document::Index(_) => [OCI_MANIFEST, DOCKER_MANIFEST],
    };
    if wrong.contains(&declared) {
        return Err(TransferError::WrongType {
            place: label.to_owned(),
            declared: declared.to_owned(),
        });
    }
    Ok(())
}
