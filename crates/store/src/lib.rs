//! The containers/storage state on disk, shared with Podman, Buildah, Skopeo and CRI-O.
