// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Draws the pictures of Documentation/: `cargo run -p pictures` writes them beside this crate's manifest.

mod architecture;
mod canvas;
mod ownership;
mod setup;
mod splice;
mod teardown;
mod timeline;

use canvas::Canvas;
use std::path::Path;
use std::{fs, io};

/// All pictures by the names of their files.
fn pictures() -> [(&'static str, Canvas); 5] {
    [
        ("architecture.svg", architecture::draw()),
        ("ownership.svg", ownership::draw()),
        ("setup.svg", setup::draw()),
        ("teardown.svg", teardown::draw()),
        ("splice.svg", splice::draw()),
    ]
}

fn main() -> io::Result<()> {
    for (name, canvas) in pictures() {
        for problem in canvas.problems() {
            eprintln!("{name}: {problem}");
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        fs::write(&path, canvas.svg())?;
        println!("{}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_pictures_are_these() {
        for (name, canvas) in pictures() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            let is = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                is == canvas.svg(),
                "{name} is old: run `cargo run -p pictures`"
            );
        }
    }

    #[test]
    fn no_text_overlaps_or_leaves_its_place() {
        for (name, canvas) in pictures() {
            let problems = canvas.problems();
            assert!(problems.is_empty(), "{name}: {problems:#?}");
        }
    }

    #[test]
    fn files_are_small() {
        for (name, canvas) in pictures() {
            assert!(canvas.svg().len() < 60_000, "{name}");
        }
    }
}
