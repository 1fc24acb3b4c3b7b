//! Tells cargo when to embed the web UI again. Building the UI is a step of its own:
//! `make ui-build`.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Cargo runs a build script with a missing path each time. Without a built UI, the folder in
    // which it will appear is watched.
    let watched = ["../frontend/dist", "../frontend"].into_iter().find(|folder| Path::new(folder).is_dir());
    if let Some(folder) = watched {
        println!("cargo::rerun-if-changed={folder}");
    }
}
