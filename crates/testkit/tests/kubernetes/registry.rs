//! The registry, which needs no cluster.

use freehold_testkit::kubernetes::{Image, Parts, Registry};

use super::node::web;

#[test]
fn an_image_is_pushed_found_by_its_digest_and_deleted() {
    if let Err(reason) = Parts::find() {
        println!("skipped: an_image_is_pushed_found_by_its_digest_and_deleted: kubernetes: {reason}");
        return;
    }
    for registry in [Registry::start().unwrap(), Registry::start_private().unwrap()] {
        let image = Image::of_program(&web()).unwrap();
        let first = registry.push("web", "1", &image).unwrap();
        assert!(first.starts_with(&format!("{}/web@sha256:", registry.address())), "{first}");
        assert_eq!(registry.push("web", "1", &image).unwrap(), first, "the same image has the same digest");
        let second = registry.push("web", "1", &image.label("version", "2")).unwrap();
        assert_ne!(second, first);
        let digest = first.split_once('@').unwrap().1;
        registry.delete("web", digest).unwrap();
        assert!(registry.delete("web", digest).unwrap_err().to_string().contains("404"));
    }
}
