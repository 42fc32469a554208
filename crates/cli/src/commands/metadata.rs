//! The file of `--metadata-file`: what is known of an image that was made, as Buildah and BuildKit write it.

use anyhow::Result;
use model::{Digest, ImageId};
use serde_json::json;

/// The member of a manifest that tells what it is.
#[derive(serde::Deserialize)]
struct Kind {
    #[serde(rename = "mediaType", default)]
    media_type: String,
}

/// Returns the text of the file for an image or list with this manifest.
pub fn text(id: &ImageId, manifest: &[u8]) -> Result<String> {
    let digest = Digest::sha256(manifest);
    let kind: Kind = serde_json::from_slice(manifest)?;
    let metadata = json!({
        "containerimage.config.digest": format!("sha256:{id}"),
        "containerimage.descriptor": {
            "mediaType": kind.media_type,
            "digest": digest.to_string(),
            "size": manifest.len(),
        },
        "containerimage.digest": digest.to_string(),
    });
    Ok(format!("{metadata}\n"))
}
