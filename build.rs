//! Rebuilds the crate when a file appears in a folder that is compiled in, or when another checkout used the shared
//! target folder last: cargo only compares times, and would take the build of that checkout for its own.

fn main() {
    for folder in ["config", "datasets", "migrations"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    println!("cargo:rerun-if-env-changed=ETL_CHECKOUT");
}
