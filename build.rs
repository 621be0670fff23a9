//! Compiles the crate anew when a file appears in a folder that is compiled in, or when another checkout was the last to
//! use the shared target folder: cargo compares times alone, and would take that one's build for this one's.

fn main() {
    for folder in ["config", "datasets", "migrations"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    println!("cargo:rerun-if-env-changed=ETL_CHECKOUT");
}
