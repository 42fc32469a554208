//! `static-registry:`: a folder that plain web servers serve as a registry.

use std::path::Path;

use testkit::daemon::Daemon;
use testkit::scratch::Scratch;
use testkit::web::WebServer;

use super::setting::{PLAIN, at, id, make, tiny};
use crate::stage::{Stage, Store, text};

/// What the folder has, and the images of the store that they are.
const IMAGES: [(&str, &str); 2] = [("a/tiny:1", "tiny"), ("a/tiny:2", "other")];

/// A store, and a folder to which both images were pushed one after the other.
fn folder(purpose: &str) -> (Stage, String) {
    let stage = tiny(purpose);
    make(&stage, "other", "FROM scratch\nCOPY h.txt /other\n");
    let folder = text(&stage.path("www")).to_owned();
    for (tag, image) in IMAGES {
        let place = format!("static-registry:{folder}:{tag}");
        stage.cooper(&["push", "-q", image, &place]).ok();
    }
    (stage, folder)
}

/// The servers that tell media types, each with the lines that lie in the folder.
fn configured(folder: &str) -> [(&'static str, WebServer); 3] {
    let nginx = format!("include {folder}/nginx.conf;");
    let caddy = format!("import {folder}/Caddyfile");
    [
        ("nginx", WebServer::nginx(&nginx).unwrap()),
        ("Apache", WebServer::apache(Path::new(folder)).unwrap()),
        ("Caddy", WebServer::caddy(&caddy).unwrap()),
    ]
}

fn pull_both(stage: &Stage, server: &WebServer) {
    for (tag, image) in IMAGES {
        stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
        let place = at(&server.host(), tag);
        let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
        assert_eq!(pulled, id(stage, image));
    }
}

#[test]
fn peer_done_a_served_folder_is_a_registry() {
    let (stage, folder) = folder("wireserved");
    let scratch = Scratch::new("served").unwrap();
    for (name, server) in configured(&folder) {
        for (tag, _) in IMAGES {
            let place = at(&server.host(), tag);
            stage
                .podman_on(Store::Elsewhere, &["pull", "-q", PLAIN, &place])
                .ok();
            let read = format!("dir:{}", scratch.join(name).display());
            stage
                .skopeo(&["copy", "-q", "--src-tls-verify=false", &place, &read])
                .ok();
        }
        pull_both(&stage, &server);
    }
    pull_both(&stage, &WebServer::python(Path::new(&folder)).unwrap());
}

#[test]
fn peer_done_docker_pulls_from_a_served_folder() {
    let (stage, folder) = folder("wireserveddocker");
    let daemon = Daemon::start().unwrap();
    for (name, server) in configured(&folder) {
        for (tag, image) in IMAGES {
            // Registries on the loopback may speak plain HTTP with Docker.
            let place = format!("{}/{tag}", server.host());
            let said = daemon.docker(&["pull", "-q", &place]).unwrap();
            assert!(said.status.success(), "{name}: {said:?}");
            let shown = daemon
                .docker(&["image", "inspect", "--format", "{{.Id}}", &place])
                .unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            assert_eq!(
                shown.trim().trim_start_matches("sha256:"),
                id(&stage, image),
                "{name}"
            );
        }
        // The next server's images are to come over its wire.
        let ids = daemon.docker(&["images", "-q"]).unwrap();
        let ids = String::from_utf8(ids.stdout).unwrap();
        let words: Vec<&str> = ["rmi", "-f"]
            .into_iter()
            .chain(ids.split_whitespace())
            .collect();
        assert!(daemon.docker(&words).unwrap().status.success(), "{name}");
    }
}
