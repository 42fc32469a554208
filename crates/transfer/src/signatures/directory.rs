//! Signatures as files in a `dir:`: `signature-N` for what its name leads to, `HEX-signature-N` for a member of a list.

use std::path::{Path, PathBuf};

use model::Digest;
use trust::{SIGNATURES_MAX, Signature};

use super::SignaturesError;
use super::lookaside::{parse, read_file, write_file};

type Result<T> = std::result::Result<T, SignaturesError>;

/// Whose signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureFiles {
    /// Of what the directory's name leads to.
    Top,
    /// Of a member of a list.
    Member,
}

impl SignatureFiles {
    fn path(self, directory: &Path, manifest: &Digest, number: usize) -> PathBuf {
        directory.join(match self {
            SignatureFiles::Top => format!("signature-{number}"),
            SignatureFiles::Member => format!("{}-signature-{number}", manifest.hex()),
        })
    }

    /// Writes signatures, and returns their files.
    pub(crate) fn write(
        self,
        directory: &Path,
        manifest: &Digest,
        signatures: &[Signature],
    ) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::with_capacity(signatures.len());
        for (at, signature) in signatures.iter().enumerate() {
            let path = self.path(directory, manifest, at + 1);
            write_file(&path, &signature.to_bytes())?;
            paths.push(path);
        }
        Ok(paths)
    }
}

/// Reads all signatures of a manifest.
pub(crate) fn read_files(
    files: SignatureFiles,
    directory: &Path,
    manifest: &Digest,
) -> Result<Vec<Signature>> {
    let mut signatures = Vec::new();
    for number in 1.. {
        let Some(bytes) = read_file(&files.path(directory, manifest, number))? else {
            break;
        };
        if signatures.len() == SIGNATURES_MAX {
            return Err(SignaturesError::TooMany {
                manifest: manifest.clone(),
            });
        }
        signatures.push(parse(number, manifest, &bytes)?);
    }
    Ok(signatures)
}
