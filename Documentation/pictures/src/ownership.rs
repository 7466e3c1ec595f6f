// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Who has a connection, and how it changes hands.

use crate::canvas::{Anchor, Area, Canvas, Size, Tone};

/// The picture.
pub(crate) fn draw() -> Canvas {
    let mut canvas = Canvas::new(960, 470, "Who owns a connection, and how that changes");
    canvas.label(
        Area(30, 170, 200, 80),
        Tone::Host,
        &["Host", "an ordinary connection", "of the TCP stack"],
    );
    canvas.label(
        Area(380, 30, 220, 80),
        Tone::Host,
        &[
            "Offloading",
            "socket locked; all is",
            "decided, credits taken",
        ],
    );
    canvas.label(
        Area(720, 170, 210, 80),
        Tone::Card,
        &["Nic", "the card ends or relays;", "the host says nothing"],
    );
    canvas.label(
        Area(380, 300, 220, 80),
        Tone::Card,
        &[
            "Returning",
            "nothing new is relayed",
            "until all is acknowledged",
        ],
    );
    canvas.label(
        Area(720, 370, 210, 80),
        Tone::Note,
        &[
            "Finished",
            "closed, reset, timed out,",
            "or lost with the card",
        ],
    );
    moves(&mut canvas);
    canvas
}

fn moves(canvas: &mut Canvas) {
    let small = |canvas: &mut Canvas, x, y, lines: &[&str]| {
        for (number, line) in (0..).zip(lines) {
            canvas.text((x, y + 15 * number), Anchor::Start, Size::Small, line);
        }
    };
    // Host to Offloading, and back.
    canvas.arrow(&[(110, 170), (110, 60), (378, 60)], false);
    small(canvas, 120, 38, &["close() with TEARDOWN,"]);
    small(canvas, 120, 54, &["or ACCELTCP_SPLICE"]);
    canvas.arrow(&[(420, 110), (420, 190), (232, 190)], false);
    small(canvas, 240, 130, &["anything is missing:"]);
    small(
        canvas,
        240,
        146,
        &["all is as before,", "a counter or an", "errno says why"],
    );
    // To the card.
    canvas.arrow(&[(600, 60), (825, 60), (825, 168)], false);
    small(canvas, 615, 46, &["the frame is in the ring: one winner"]);
    // And back.
    canvas.arrow(&[(760, 250), (760, 330), (602, 330)], false);
    small(canvas, 612, 300, &["UNSPLICE"]);
    canvas.arrow(&[(500, 300), (500, 220), (718, 220)], true);
    small(canvas, 508, 212, &["no acknowledgement: EAGAIN"]);
    canvas.arrow(&[(380, 340), (130, 340), (130, 252)], false);
    small(canvas, 142, 332, &["the card tells its numbers,"]);
    small(canvas, 142, 358, &["the socket wakes"]);
    // The end.
    canvas.arrow(&[(880, 250), (880, 368)], false);
    canvas.arrow(&[(490, 380), (490, 410), (718, 410)], true);
    small(canvas, 502, 403, &["a peer closes: EALREADY"]);
}
