//! Signing an image where it is made: in a store.

use model::{Digest, Event, ImageId, Reference, Reporter};
use store::{NewImage, Store};
use trust::Claim;

use super::SignaturesError;
use super::options::SignatureOptions;
use super::signer::sign_all;
use super::stored::stored_items;

/// Signs an image of a store as `options` say, for a name. Its signatures are then these and no others: those of an
/// earlier image with the same content were made for that.
///
/// An image that has no name is signed for one that nobody has, as Buildah does.
///
/// # Errors
/// When the image is not there, it cannot be signed, or the store refuses. The image is then as it was.
pub fn sign_stored(
    store: &Store,
    image: &ImageId,
    name: Option<&Reference>,
    options: &SignatureOptions,
    reporter: &dyn Reporter,
) -> Result<(), SignaturesError> {
    if options.signers.is_empty() {
        return Ok(());
    }
    let stored = SignaturesError::Store;
    let images = store.images().map_err(stored)?;
    let record = images
        .get(image)
        .ok_or_else(|| SignaturesError::NotStored {
            image: image.to_string(),
        })?;
    let manifest = Digest::sha256(&store.image_manifest(image).map_err(stored)?);
    let claim = Claim {
        manifest: manifest.clone(),
        reference: match name {
            Some(name) => name.clone().with_default_tag().to_string(),
            None => format!("docker.io/library/{image}-tmp:latest"),
        },
    };
    let signatures = sign_all(&options.signers, &claim, &options.creator, reporter)?;
    reporter.event(Event::StoringSignatures);
    let Some((items, metadata)) = stored_items(&manifest, &signatures, record.metadata.as_deref())?
    else {
        return Ok(());
    };
    let signed = NewImage {
        id: Some(image.clone()),
        layer: record.layer.clone(),
        names: Vec::new(),
        former_names: Vec::new(),
        items,
        created: None,
        metadata: Some(metadata),
    };
    store.put_image(signed).map_err(SignaturesError::Write)?;
    Ok(())
}
