//! Debian's Buildah and Skopeo as judges: equal trees must give equal bytes, and their splits must be usable.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cooper_archive::{Flavour, TreeOptions, regenerate};

use crate::support::{archive, extract, need_root, root, scratch, subdir, view};

/// A store of Buildah's own in a scratch directory.
struct Peer {
    dir: tempfile::TempDir,
}

impl Peer {
    fn new() -> Self {
        need_root();
        let dir = scratch();
        fs::write(dir.path().join("containers.conf"), "").unwrap();
        Self { dir }
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        let output = Command::new(program)
            .env("CONTAINERS_CONF", self.dir.path().join("containers.conf"))
            .env("BUILDAH_RUNTIME", "runc")
            .args(args)
            .output()
            .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
        assert!(
            output.status.success(),
            "{program} {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().into()
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().into()
    }

    fn buildah(&self, args: &[&str]) -> String {
        let (root, run) = (self.path("root"), self.path("run"));
        let mut all = vec![
            "--root",
            &root,
            "--runroot",
            &run,
            "--storage-driver",
            "overlay",
        ];
        all.extend(args);
        self.run("buildah", &all)
    }

    /// Makes image `name` from `base` by a shell script that runs in the mounted root. Returns the upper directory's
    /// copy, taken before the commit, and the digest of the exported layer.
    fn build(&self, base: &str, name: &str, script: &str) -> PathBuf {
        let container = self.buildah(&["from", "--pull-never", base]);
        let mounted = self.buildah(&["mount", &container]);
        self.run("bash", &["-euc", &format!("cd {mounted}; {script}")]);
        let upper = Path::new(&mounted).with_file_name("diff");
        let copy = self.dir.path().join(name);
        self.buildah(&["umount", &container]);
        self.run(
            "cp",
            &["-a", upper.to_str().unwrap(), copy.to_str().unwrap()],
        );
        self.buildah(&["commit", "-q", &container, name]);
        copy
    }

    /// Exports an image and returns its layers, bottom first.
    fn layers(&self, image: &str) -> Vec<PathBuf> {
        let out = self.path(&format!("{image}.dir"));
        let source = format!(
            "containers-storage:[overlay@{}+{}]localhost/{image}",
            self.path("root"),
            self.path("run")
        );
        self.run("skopeo", &["copy", "-q", &source, &format!("dir:{out}")]);
        let manifest = fs::read_to_string(Path::new(&out).join("manifest.json")).unwrap();
        let layers = &manifest[manifest.find("\"layers\"").unwrap()..];
        let layers = &layers[..layers.find(']').unwrap()];
        let found = layers
            .split("sha256:")
            .skip(1)
            .map(|rest| Path::new(&out).join(&rest[..64]));
        found.collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Another tool may have left its home mount, which keeps the directory from going away.
        let _ = Command::new("umount")
            .args(["-q", &self.path("root/overlay")])
            .status();
    }
}

const ODD_TREE: &str = r#"
long=$(printf 'x%.0s' {1..120}); p=$(printf 'p%.0s' {1..90}); n=$(printf 'n%.0s' {1..100})
mkdir -p a b b-b "dir/$long/$long" sticky "$p/$p" "${n}d" "$p/$p/d"
echo hi >a/f; echo x >"dir/$long/$long/file"; echo a >b-b/x; echo b >b/x; echo u >"$p/$p/f"; echo n >"$n"
ln -s "$long$long" longlink; ln a/f a/hard; ln a/f "$long"; ln "$p/$p/f" zhard; ln -s ../x "$p/$p/sl"
mknod c0 c 5 1; mknod b0 b 8 300; mknod big c 300 70000; mkfifo p
touch bigid $'non\xff\xfeutf8' 'ünï' caps suid half; ln -s ünï usl
chown 3000000:4294967290 bigid; chown -h 99999999:5 longlink
setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 caps
setfattr -n user.foo -v bar caps; setfattr -n user.empty caps; setfattr -n trusted.x -v bar caps
setfattr -n user.dir -v bar sticky
touch -d 1960-01-01 old; touch -d 2500-01-01 future; touch -d '2020-01-01 00:00:00.7' half
chmod 6755 suid; chmod 1777 sticky
head -c 3000000 /dev/urandom >large; truncate -s 5000000 sparse
"#;

const CHANGES: &str = r"
rm caps c0 b0 half; chown 5:6 sticky; rm a/f a/hard; rm -rf b-b; mkdir b-b; echo y >b-b/new; chown 1000:1001 b-b
rm -rf dir; mkdir -m 2755 newdir; mkdir newdir/sub; ln -s q s1; ln s1 s2; echo more >>large
";

#[test]
fn peer_layers_have_the_bytes_of_buildah() {
    let peer = Peer::new();
    let first = peer.build("scratch", "first", ODD_TREE);
    let second = peer.build("localhost/first", "second", CHANGES);
    let layers = peer.layers("second");
    assert_eq!(layers.len(), 2);
    let options = TreeOptions::new(Flavour::OverlayTrusted);
    for (tree, lowers, layer) in [
        (&first, vec![], &layers[0]),
        (&second, vec![&first], &layers[1]),
    ] {
        let lowers: Vec<&Path> = lowers.iter().map(|lower| lower.as_path()).collect();
        let (_, split, bytes) = archive(tree, &lowers, &options);
        let theirs = fs::read(layer).unwrap();
        assert!(
            bytes == theirs,
            "{} differs from {}",
            tree.display(),
            layer.display()
        );
        let mut again = Vec::new();
        regenerate(&split[..], &[&root(tree)], &mut again).unwrap();
        assert!(again == theirs);
    }
}

#[test]
fn peer_extraction_gives_the_tree_and_split_of_the_store() {
    let peer = Peer::new();
    let first = peer.build("scratch", "first", ODD_TREE);
    let second = peer.build("localhost/first", "second", CHANGES);
    for (name, tree, layer) in [("1", &first, 0), ("2", &second, 1)] {
        let bytes = fs::read(&peer.layers("second")[layer]).unwrap();
        let into = subdir(peer.dir.path(), name);
        let (extracted, split) = extract(&bytes, &into, Flavour::OverlayTrusted).unwrap();
        assert_eq!(extracted.digest.diff_id.0, model::Digest::sha256(&bytes));
        // Attributes that layers do not carry, and the shared inode of whiteouts, stay behind.
        let stays = |word: &&str| !word.starts_with("trusted.");
        let plain = |path: &Path| -> Vec<String> {
            view(path)
                .lines()
                .map(|line| line.split(' ').filter(stays).collect::<Vec<_>>().join(" "))
                .collect()
        };
        similar_asserts(&plain(&into), &plain(tree));
        let mut again = Vec::new();
        regenerate(&split[..], &[&root(&into)], &mut again).unwrap();
        assert!(again == bytes);
        // Their split, our reader.
        let digest = extracted.digest.diff_id.0.hex().to_owned();
        let id = if layer == 0 {
            digest
        } else {
            chain(&peer.layers("second"))
        };
        let store = peer.dir.path().join("root");
        let theirs = fs::read(
            store
                .join("overlay-layers")
                .join(format!("{id}.tar-split.gz")),
        )
        .unwrap();
        let mut again = Vec::new();
        regenerate(
            &theirs[..],
            &[&root(&store.join("overlay").join(id).join("diff"))],
            &mut again,
        )
        .unwrap();
        assert!(again == bytes);
    }
}

fn chain(layers: &[PathBuf]) -> String {
    let id = |path: &PathBuf| model::DiffId(model::Digest::sha256(&fs::read(path).unwrap()));
    let bottom = model::LayerId::chain(None, &id(&layers[0]));
    model::LayerId::chain(Some(&bottom), &id(&layers[1]))
        .as_str()
        .into()
}

fn similar_asserts(left: &[String], right: &[String]) {
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left, right);
    }
    assert_eq!(left.len(), right.len());
}

#[test]
fn peer_archives_of_gnu_tar_are_read_in_every_format() {
    let tmp = scratch();
    let tree = subdir(tmp.path(), "tree");
    let script = r#"
        long=$(printf 'x%.0s' {1..120}); mkdir -p "d/$long"; echo hi >"d/$long/$long"; ln -s "$long$long" sl; ln sl hl
        truncate -s 3000000 hole; printf data | dd of=hole bs=1 seek=1000000 conv=notrunc status=none
        printf end >>hole; echo plain >plain; mkfifo fifo
        truncate -s 8000000 holes; for i in {1..40}; do printf x | dd of=holes bs=1 seek=$((i * 100000)) conv=notrunc status=none; done
    "#;
    let run = |script: &str, dir: &Path| {
        let status = Command::new("bash")
            .args(["-euc", script])
            .current_dir(dir)
            .status()
            .unwrap();
        assert!(status.success());
    };
    run(script, &tree);
    let formats = [
        "--format=gnu",
        "--format=gnu -S",
        "--format=pax",
        "--format=pax -S --sparse-version=0.0",
        "--format=pax -S --sparse-version=0.1",
        "--format=pax -S --sparse-version=1.0",
    ];
    for (index, format) in formats.into_iter().enumerate() {
        run(&format!("tar {format} -cf ../t.tar ."), &tree);
        let out = subdir(tmp.path(), &format!("out{index}"));
        let blob = fs::File::open(tmp.path().join("t.tar")).unwrap();
        let options = cooper_archive::ArchiveOptions {
            owner: None,
            modes: cooper_archive::Modes::Kept,
            privilege: cooper_archive::Privilege::Full,
            limits: cooper_archive::Limits::default(),
        };
        cooper_archive::extract_archive(blob, &root(&out), Path::new(""), &options).unwrap();
        assert_eq!(view(&out), view(&tree), "{format}");
    }
}
