//! `static-registry:`: a folder that plain web servers serve as a registry.

use testkit::scratch::Scratch;
use testkit::web::WebServer;

use super::setting::{PLAIN, at, id, make, tiny};
use crate::stage::{Stage, Store, text};

fn push(stage: &Stage, image: &str, rest: &str) -> String {
    let folder = stage.path("www");
    let place = format!("static-registry:{}:{rest}", folder.display());
    stage.cooper(&["push", "-q", image, &place]).ok();
    text(&folder).to_owned()
}

#[test]
fn peer_done_a_served_folder_is_a_registry() {
    let stage = tiny("wireserved");
    let folder = push(&stage, "tiny", "a/tiny:1");
    make(&stage, "other", "FROM scratch\nCOPY h.txt /other\n");
    push(&stage, "other", "a/tiny:2");
    let scratch = Scratch::new("served").unwrap();
    let layout = format!("dir:{}", scratch.join("x").display());

    let include = format!("include {folder}/nginx.conf;");
    let nginx = WebServer::nginx(&include).unwrap();
    for (tag, image) in [("a/tiny:1", "tiny"), ("a/tiny:2", "other")] {
        let place = at(&nginx.host(), tag);
        stage
            .podman_on(Store::Elsewhere, &["pull", "-q", PLAIN, &place])
            .ok();
        stage
            .skopeo(&["copy", "-q", "--src-tls-verify=false", &place, &layout])
            .ok();
        stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
        let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
        assert_eq!(pulled, id(&stage, image));
    }
    let python = WebServer::python(std::path::Path::new(&folder)).unwrap();
    for (tag, image) in [("a/tiny:1", "tiny"), ("a/tiny:2", "other")] {
        stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
        let place = at(&python.host(), tag);
        let pulled = stage.cooper_elsewhere(&["pull", "-q", PLAIN, &place]).ok();
        assert_eq!(pulled, id(&stage, image));
    }
}
