// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames between a host, its card and peers, from top to bottom in time.

use crate::canvas::{width_of, Anchor, Area, Canvas, Size, Tone, LINE};

/// Who sends and receives; the number is the place from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The host.
    Host = 0,
    /// The card.
    Card = 1,
    /// A client, or the only peer.
    Client = 2,
    /// A backend.
    Backend = 3,
}

use Lane::{Backend, Card, Client, Host};

/// What happens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A frame goes from one to the other.
    Frame(Lane, Lane, &'static str),
    /// Such a frame that may be missing, or come later.
    Maybe(Lane, Lane, &'static str),
    /// Something happens at one place.
    At(Lane, &'static [&'static str]),
    /// A part with a heading begins.
    Part(&'static str),
}

const TOP: i32 = 20;
const HEAD: i32 = 34;
const LEFT: i32 = 130;
const FRAME: i32 = 36;
const NOTE_GAP: i32 = 12;
const NOTE_PADDING: i32 = 12;
const PART: i32 = 44;

/// Draws `steps` between the host, the card and `peers`, which are one or two with their names; lanes are `gap` apart.
pub(crate) fn draw(
    title: &'static str,
    peers: &[&'static str],
    gap: i32,
    steps: &[Step],
) -> Canvas {
    let lanes = 2 + peers.len() as i32;
    let x = |lane: Lane| LEFT + lane as i32 * gap;
    let start = TOP + HEAD;
    let height = steps.iter().map(height_of).sum::<i32>() + start + 30;
    let width = 2 * LEFT + (lanes - 1) * gap;
    let mut canvas = Canvas::new(width, height, title);
    let heads = [(Host, "host", Tone::Host), (Card, "card", Tone::Card)];
    let names = [Client, Backend].into_iter().zip(peers);
    let peers = names.map(|(lane, name)| (lane, *name, Tone::Peer));
    for (lane, name, tone) in heads.into_iter().chain(peers) {
        canvas.rule(&[(x(lane), start), (x(lane), height - 12)], false);
        canvas.label(Area(x(lane) - 70, TOP, 140, HEAD), tone, &[name]);
    }
    let pcie = x(Host) + gap / 2;
    canvas.text((pcie, TOP + 21), Anchor::Middle, Size::Small, "PCIe");
    let wire = x(Card) + gap / 2;
    canvas.text((wire, TOP + 21), Anchor::Middle, Size::Small, "wire");
    let mut y = start;
    for step in steps {
        y += height_of(step);
        match step {
            Step::Frame(from, to, text) | Step::Maybe(from, to, text) => {
                let (from, to) = (x(*from), x(*to));
                let dashed = matches!(step, Step::Maybe(..));
                let wide = width_of(text, Size::Text);
                let middle = (from + to) / 2;
                canvas.patch(Area(middle - wide / 2, y - 19, wide, 16));
                canvas.arrow(&[(from, y), (to, y)], dashed);
                canvas.text((middle, y - 6), Anchor::Middle, Size::Text, text);
            }
            Step::At(lane, lines) => {
                let wide = lines.iter().map(|line| width_of(line, Size::Text)).max();
                let wide = wide.unwrap_or(0) + 2 * NOTE_PADDING;
                let high = lines.len() as i32 * LINE + NOTE_PADDING;
                let middle = x(*lane).max(wide / 2 + 6).min(width - wide / 2 - 6);
                canvas.note(Area(middle - wide / 2, y - high, wide, high), lines);
            }
            Step::Part(text) => {
                canvas.rule(&[(12, y - 20), (width - 12, y - 20)], true);
                let wide = width_of(text, Size::Title);
                canvas.patch(Area(14, y - 18, wide, 20));
                canvas.text((16, y), Anchor::Start, Size::Title, text);
            }
        }
    }
    canvas
}

fn height_of(step: &Step) -> i32 {
    match step {
        Step::Frame(..) | Step::Maybe(..) => FRAME,
        Step::At(_, lines) => lines.len() as i32 * LINE + NOTE_PADDING + NOTE_GAP,
        Step::Part(_) => PART,
    }
}
