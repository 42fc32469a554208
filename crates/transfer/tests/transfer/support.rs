//! Scratch directories, images made by hand, and other tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use archive::tar::{Header, Kind, Writer};
use archive::{Compression, Encoder};
use cooper_transfer::{Copied, CopyOptions, TransferError, TransportRef, copy};
use model::{
    Descriptor, DiffId, Digest, Event, History, ImageConfig, Index, Manifest, ManifestFormat,
    Platform, Reporter, media_type,
};
use store::{DriverName, Store, StoreOptions};

/// A directory that goes away with its owner.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!(
            "/var/tmp/cooper-dev-transfer/{}-{number}",
            std::process::id()
        ));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Replaces `@/` by this directory and a slash.
    pub fn text(&self, text: &str) -> String {
        text.replace("@/", &format!("{}/", self.0.display()))
    }

    pub fn place(&self, text: &str) -> TransportRef {
        let text = self.text(text);
        TransportRef::parse(&text).unwrap_or_else(|err| panic!("{text}: {err}"))
    }

    pub fn store(&self, name: &str, driver: DriverName) -> Store {
        let options = StoreOptions::new(
            self.path(&format!("{name}-g")),
            self.path(&format!("{name}-r")),
        );
        Store::open(options.with_driver(driver)).unwrap()
    }

    pub fn copy(
        &self,
        from: &str,
        to: &str,
        store: Option<&Store>,
    ) -> Result<Copied, TransferError> {
        self.copy_with(from, to, store, &self.options())
    }

    pub fn copy_with(
        &self,
        from: &str,
        to: &str,
        store: Option<&Store>,
        options: &CopyOptions,
    ) -> Result<Copied, TransferError> {
        copy(
            &self.place(from),
            &self.place(to),
            store,
            options,
            &model::event::Silent,
        )
    }

    pub fn options(&self) -> CopyOptions {
        CopyOptions {
            platform: Platform::new("linux", "amd64"),
            temporary: self.0.clone(),
            ..CopyOptions::default()
        }
    }

    /// Says what is left in the directory, to see that nothing is.
    pub fn list(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = match fs::read_dir(self.path(name)) {
            Ok(entries) => entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect(),
            Err(_) => Vec::new(),
        };
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Podman and Skopeo leave the driver's home mounted on itself.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let inside = |line: &str| {
            let path = PathBuf::from(line.split(' ').nth(4)?);
            path.starts_with(&self.0).then_some(path)
        };
        for path in mounts.lines().rev().filter_map(inside) {
            let _ = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs another tool and returns what it prints.
pub fn tool(args: &[&str]) -> String {
    let output = Command::new(args[0])
        .args(&args[1..])
        .output()
        .unwrap_or_else(|err| {
            panic!(
                "this test needs `{}`, which cannot be started: {err}",
                args[0]
            )
        });
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("tools print text")
        .trim()
        .to_owned()
}

/// Everything that was told.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<Event>>);

impl Reporter for Heard {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A plain tar with one file.
pub fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let header = Header {
        mode: 0o644,
        size: content.len() as u64,
        ..Header::new(name, Kind::File)
    };
    writer.start(&header).unwrap();
    writer.data(content).unwrap();
    writer.finish().unwrap()
}

pub fn pack(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), compression, None).unwrap();
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap().out
}

/// An image made by hand, to be bent before it is written.
pub struct Image {
    pub format: ManifestFormat,
    pub config: ImageConfig,
    pub layers: Vec<(Vec<u8>, &'static str)>,
}

impl Image {
    /// An image of gzip layers.
    pub fn new(format: ManifestFormat, platform: &str, contents: &[&[u8]]) -> Self {
        let mut config = ImageConfig::for_platform(&Platform::parse(platform).unwrap());
        config.config.env = vec!["PATH=/bin".to_owned()];
        let mut layers = Vec::new();
        for (index, content) in contents.iter().enumerate() {
            let tar = layer(&format!("file{index}"), content);
            config.append_layer(DiffId(Digest::sha256(&tar)), History::default());
            let media_type = match format {
                ManifestFormat::Oci => media_type::OCI_LAYER_GZIP,
                ManifestFormat::Docker => media_type::DOCKER_LAYER_GZIP,
            };
            layers.push((pack(&tar, Compression::Gzip), media_type));
        }
        Self {
            format,
            config,
            layers,
        }
    }

    pub fn config_bytes(&self) -> Vec<u8> {
        self.config.to_bytes(self.format)
    }

    pub fn manifest(&self) -> Manifest {
        let config = self.config_bytes();
        let layers = self
            .layers
            .iter()
            .map(|(bytes, kind)| Descriptor::new(kind, Digest::sha256(bytes), bytes.len() as u64));
        let config = Descriptor::new(
            self.format.config_type(),
            Digest::sha256(&config),
            config.len() as u64,
        );
        Manifest::new(self.format, config, layers.collect())
    }

    /// Writes blobs and manifest below `blobs/` of a layout and returns the manifest's descriptor.
    pub fn write_blobs(&self, layout: &Path) -> Descriptor {
        for (bytes, _) in &self.layers {
            blob(layout, bytes);
        }
        blob(layout, &self.config_bytes());
        let bytes = self.manifest().to_bytes();
        let mut entry = Descriptor::new(
            self.format.manifest_type(),
            blob(layout, &bytes),
            bytes.len() as u64,
        );
        entry.platform = Some(self.config.platform());
        entry
    }

    /// Writes a whole layout with one entry.
    pub fn write_layout(&self, layout: &Path, name: Option<&str>) {
        let mut entry = self.write_blobs(layout);
        entry.platform = None;
        write_index(layout, vec![named(entry, name)]);
    }
}

pub fn named(mut entry: Descriptor, name: Option<&str>) -> Descriptor {
    let name = name.map(|name| {
        (
            "org.opencontainers.image.ref.name".to_owned(),
            name.to_owned(),
        )
    });
    entry.annotations.extend(name);
    entry
}

pub fn blob(layout: &Path, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    digest
}

pub fn write_index(layout: &Path, entries: Vec<Descriptor>) {
    fs::create_dir_all(layout).unwrap();
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    fs::write(
        layout.join("index.json"),
        Index::new(ManifestFormat::Oci, entries).to_bytes(),
    )
    .unwrap();
}

/// The error and its causes, as a user sees them.
pub fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What a copy that must fail says.
pub fn failure(result: Result<Copied, TransferError>) -> String {
    match result {
        Ok(_) => panic!("the copy went well"),
        Err(err) => chain(&err),
    }
}
