//! Compiles the crate anew when a file appears in a folder that is compiled in.

fn main() {
    for folder in ["config", "datasets", "migrations"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
