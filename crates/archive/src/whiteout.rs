//! Names that say something about other names (OCI image specification, layer.md, "Whiteouts").

/// Prefix of the name of a removed entry.
pub(crate) const PREFIX: &[u8] = b".wh.";
/// Name of the entry that hides whatever lower layers have in its directory.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of bookkeeping that AUFS left in old layers.
const AUFS: &[u8] = b".wh..wh.";

/// What the last part of a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// An entry like any other.
    Ordinary,
    /// The directory hides everything below.
    Opaque,
    /// That name is removed.
    Removed(&'a [u8]),
    /// A whiteout of nothing, of the directory itself or its parent, or a leftover of AUFS.
    Invalid,
}

pub(crate) fn last_part(name: &[u8]) -> &[u8] {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    name.rsplit(|byte| *byte == b'/').next().unwrap_or(name)
}

/// Returns whether the last part of a name has the prefix.
pub(crate) fn is_whiteout(name: &[u8]) -> bool {
    last_part(name).starts_with(PREFIX)
}

pub(crate) fn meaning(part: &[u8]) -> Meaning<'_> {
    let Some(removed) = part.strip_prefix(PREFIX) else {
        return Meaning::Ordinary;
    };
    match removed {
        _ if part == OPAQUE => Meaning::Opaque,
        b"" | b"." | b".." => Meaning::Invalid,
        _ if part.starts_with(AUFS) => Meaning::Invalid,
        _ => Meaning::Removed(removed),
    }
}

/// Returns the name of the whiteout of `path`.
pub(crate) fn name_of(path: &[u8]) -> Vec<u8> {
    let cut = path.len() - last_part(path).len();
    [&path[..cut], PREFIX, &path[cut..]].concat()
}
