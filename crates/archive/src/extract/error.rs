//! Why a stream was not extracted.

use std::io;

use crate::tar::TarError;

/// Why a stream was not extracted.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The blob cannot be read or decompressed, or is not the announced one.
    #[error("cannot read the compressed archive")]
    Blob(#[from] io::Error),
    /// The stream is no sound tar.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The user namespace lacks the owner of a member. The words are those of the Go tools.
    #[error(
        "potentially insufficient UIDs or GIDs available in user namespace (requested {uid}:{gid} for {path}): \
         Check /etc/subuid and /etc/subgid if configured locally and run \"podman system migrate\": lchown {path}"
    )]
    NoSuchOwner {
        /// The member, from the root on.
        path: String,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A name leaves the root.
    #[error("entry `{name}` would leave the root")]
    Escapes {
        /// The name.
        name: String,
    },
    /// A hard link's target leaves the root.
    #[error("hard link `{name}` to `{target}` would leave the root")]
    LinkEscapes {
        /// The name.
        name: String,
        /// The target.
        target: String,
    },
    /// A hard link's target is not there.
    #[error("hard link `{name}` has no target `{target}`")]
    LinkTarget {
        /// The name.
        name: String,
        /// The target.
        target: String,
    },
    /// A name appears twice in a layer.
    #[error("entry `{name}` appears twice in the layer")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A member needs a place that another one has.
    #[error("entry `{name}` conflicts with an earlier one")]
    Conflict {
        /// The name.
        name: String,
    },
    /// A layer has a sparse member.
    #[error("sparse entry `{name}` is not supported in a layer")]
    Sparse {
        /// The name.
        name: String,
    },
    /// The type of a member is unknown.
    #[error("entry `{name}` of type {kind:#04x} is not supported")]
    Kind {
        /// The name.
        name: String,
        /// The type byte.
        kind: u8,
    },
    /// A whiteout hides nothing that a name could be, or has content.
    #[error("entry `{name}` is not a valid whiteout")]
    Whiteout {
        /// The name.
        name: String,
    },
    /// The archive's root is no directory.
    #[error("entry `{name}` makes the root something other than a directory")]
    Root {
        /// The name.
        name: String,
    },
    /// A user or group ID does not fit 32 bits.
    #[error("entry `{name}` has an owner outside the range of IDs")]
    Owner {
        /// The name.
        name: String,
    },
    /// There is more than allowed.
    #[error("the archive is larger than the limit of {limit} {what}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A member cannot be made.
    #[error("cannot extract `{name}`")]
    Place {
        /// The name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Times of directories cannot be set.
    #[error("cannot set the times of directories")]
    Times(#[source] io::Error),
    /// The tar-split cannot be written.
    #[error("cannot write the tar-split data")]
    Split(#[source] io::Error),
}
