//! A tree copied into another folder, with everything that an archive keeps of it.

use std::io;
use std::path::Path;

use sys::Root;

use crate::{ArchiveOptions, Flavour, TreeOptions, extract_archive, write_tree};

/// Copies what is in `from` into the folder `into`.
///
/// # Errors
/// When something cannot be read or made; what was made before stays.
pub fn copy_tree(from: &Root, into: &Root, options: &ArchiveOptions<'_>) -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let packer =
            scope.spawn(move || write_tree(from, &[], &TreeOptions::new(Flavour::Plain), writer));
        let extracted = extract_archive(reader, into, Path::new("/"), options);
        let packed = packer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A broken pipe of the packer is only the echo of the other's error.
        extracted.map_err(io::Error::other)?;
        packed.map_err(io::Error::other)
    })
}
