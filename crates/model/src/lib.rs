//! The nouns of container images: references, digests, manifests, configs, and pure edits on them.
