//! Compiles the crate again if a migration is added: the macro that embeds them sees changed files
//! only.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
