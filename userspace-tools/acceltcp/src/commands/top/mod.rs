// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp top`.

mod model;
mod view;

use std::{
    io::{self, IsTerminal},
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use anyhow::{bail, Context, Result};
use ratatui::{
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    DefaultTerminal,
};

use crate::{netlink::Connection, output::Output};
use model::Model;

/// How long a signal may wait.
const SLICE: Duration = Duration::from_millis(200);

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
}

/// The screen, which is as before when this is dropped; a panic restores it before it speaks.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Self> {
        Ok(Self(ratatui::try_init().context("terminal")?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows everything until q is pressed.
pub fn run(args: &Args, output: &mut Output<'_>) -> Result<()> {
    if output.is_json() || !io::stdout().is_terminal() {
        bail!("top needs a terminal; programs may use: acceltcp -j status --rates");
    }
    let mut model = Model::default();
    // An error that is there from the start is told without a screen.
    model.refresh(&mut Connection::open()?)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut screen = Screen::open()?;
    let interval = Duration::from_secs(args.interval);
    let color = output.is_colored();
    let mut next = Instant::now() + interval;
    loop {
        screen.0.draw(|frame| view::draw(frame, &model, color))?;
        if !wait(&mut model, &mut next, interval, &stop)? {
            return Ok(());
        }
    }
}

/// Waits until there is something new to draw; false when it is time to stop.
fn wait(
    model: &mut Model,
    next: &mut Instant,
    interval: Duration,
    stop: &AtomicBool,
) -> Result<bool> {
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let now = Instant::now();
        if now >= *next && !model.is_paused() {
            *next = now + interval;
            // The module may be gone, and come back.
            let refreshed = Connection::open()
                .map_err(Into::into)
                .and_then(|mut connection| model.refresh(&mut connection));
            model.note(refreshed);
            return Ok(true);
        }
        let time = match model.is_paused() {
            true => SLICE,
            false => next.saturating_duration_since(now).min(SLICE),
        };
        if event::poll(time)? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => return Ok(press(model, key)),
                Event::Resize(..) => return Ok(true),
                _ => {}
            }
        }
    }
}

/// Does what a key is for; false when it is time to stop.
fn press(model: &mut Model, key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Char(' ') => model.pause(),
        KeyCode::Char('s') => model.sort_otherwise(),
        KeyCode::Char('z') => model.toggle_zeros(),
        KeyCode::Up | KeyCode::Char('k') => model.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => model.scroll(1),
        KeyCode::PageUp => model.scroll(-10),
        KeyCode::PageDown => model.scroll(10),
        _ => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let mut model = Model::default();
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        assert!(press(&mut model, key(KeyCode::Char(' '))) && model.is_paused());
        assert!(press(&mut model, key(KeyCode::Char(' '))) && !model.is_paused());
        assert!(press(&mut model, key(KeyCode::Char('c'))));
        assert!(!press(&mut model, key(KeyCode::Char('q'))));
        assert!(!press(&mut model, key(KeyCode::Esc)));
        let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(!press(&mut model, control));
    }

    #[test]
    fn a_signal_ends_it() {
        let mut next = Instant::now();
        let stop = AtomicBool::new(true);
        let on = wait(&mut Model::default(), &mut next, Duration::ZERO, &stop);
        assert!(!on.unwrap());
    }
}
