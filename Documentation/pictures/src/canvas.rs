// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A picture in SVG that knows where its texts are.
//!
//! All numbers are pixels. The background is part of the picture, so that it is readable on a dark page, too.

use std::fmt::Write;

/// How large letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// Of titles.
    Title = 16,
    /// Of everything else.
    Text = 13,
    /// Of remarks.
    Small = 12,
}

/// What a colour is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// The host.
    Host,
    /// The card.
    Card,
    /// Peers on the wire.
    Peer,
    /// What is within one of these.
    Inner,
    /// What is said beside.
    Note,
}

impl Tone {
    /// Colours of the surface and of its edge.
    const fn colours(self) -> (&'static str, &'static str) {
        match self {
            Self::Host => ("#dbe9f8", "#2f6fb0"),
            Self::Card => ("#dcf0dc", "#3a7d3a"),
            Self::Peer => ("#f6e6d2", "#a8692a"),
            Self::Inner => ("#ffffff", "#5a6672"),
            Self::Note => ("#f4f4ee", "#8a8a78"),
        }
    }
}

/// Where a text stands relative to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// Behind it.
    Start,
    /// Around it.
    Middle,
}

/// A rectangle: left, top, width, height.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Area(
    pub(crate) i32,
    pub(crate) i32,
    pub(crate) i32,
    pub(crate) i32,
);

impl Area {
    fn overlaps(&self, other: &Self) -> bool {
        self.0 < other.0 + other.2
            && other.0 < self.0 + self.2
            && self.1 < other.1 + other.3
            && other.1 < self.1 + self.3
    }

    fn holds(&self, other: &Self) -> bool {
        self.0 <= other.0
            && self.1 <= other.1
            && other.0 + other.2 <= self.0 + self.2
            && other.1 + other.3 <= self.1 + self.3
    }
}

/// A picture.
#[derive(Debug)]
pub(crate) struct Canvas {
    width: i32,
    height: i32,
    title: &'static str,
    items: String,
    texts: Vec<(Area, String)>,
    problems: Vec<String>,
}

/// Distance of lines of text.
pub(crate) const LINE: i32 = 17;

/// How wide `text` is at most in the fonts that may be there.
pub(crate) fn width_of(text: &str, size: Size) -> i32 {
    text.chars().count() as i32 * (size as i32 * 60 / 100 + 1)
}

impl Canvas {
    /// An empty picture; `title` is for those who do not see it.
    pub(crate) fn new(width: i32, height: i32, title: &'static str) -> Self {
        Self {
            width,
            height,
            title,
            items: String::new(),
            texts: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn add(&mut self, item: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.items, "{item}");
    }

    /// A rectangle.
    pub(crate) fn surface(&mut self, area: Area, tone: Tone) {
        let (fill, stroke) = tone.colours();
        let Area(x, y, w, h) = area;
        self.add(format_args!(
            r#"<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{fill}" stroke="{stroke}"/>"#
        ));
    }

    /// A rectangle with lines of text in its middle, of which the first one is a heading.
    pub(crate) fn label(&mut self, area: Area, tone: Tone, lines: &[&str]) {
        self.surface(area, tone);
        self.lines(area, lines, true);
    }

    /// A rectangle with a remark in its middle.
    pub(crate) fn note(&mut self, area: Area, lines: &[&str]) {
        self.surface(area, Tone::Note);
        self.lines(area, lines, false);
    }

    fn lines(&mut self, area: Area, lines: &[&str], heading: bool) {
        let middle = area.0 + area.2 / 2;
        let first = area.1 + (area.3 - lines.len() as i32 * LINE) / 2 + LINE - 4;
        for (number, line) in lines.iter().enumerate() {
            let y = first + number as i32 * LINE;
            let bold = heading && number == 0;
            let place = self.write((middle, y), Anchor::Middle, Size::Text, bold, line);
            if !area.holds(&place) {
                self.problems.push(format!("{line:?} is too long"));
            }
        }
    }

    /// A text whose line stands on `at`.
    pub(crate) fn text(&mut self, at: (i32, i32), anchor: Anchor, size: Size, text: &str) {
        self.write(at, anchor, size, size == Size::Title, text);
    }

    fn write(
        &mut self,
        (x, y): (i32, i32),
        anchor: Anchor,
        size: Size,
        bold: bool,
        text: &str,
    ) -> Area {
        let width = width_of(text, size);
        let (name, left) = match anchor {
            Anchor::Start => ("start", x),
            Anchor::Middle => ("middle", x - width / 2),
        };
        let letters = size as i32;
        let weight = if bold { r#" font-weight="bold""# } else { "" };
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
        self.add(format_args!(
            r#"<text x="{x}" y="{y}" text-anchor="{name}" font-size="{letters}"{weight}>{escaped}</text>"#
        ));
        let place = Area(left, y - letters * 8 / 10, width, letters);
        self.texts.push((place, text.to_owned()));
        place
    }

    /// A line, with an arrow at its end.
    pub(crate) fn arrow(&mut self, points: &[(i32, i32)], dashed: bool) {
        self.stroke(points, dashed, r##" marker-end="url(#tip)""##, "#24292f");
    }

    /// A thin line.
    pub(crate) fn rule(&mut self, points: &[(i32, i32)], dashed: bool) {
        self.stroke(points, dashed, "", "#8a949e");
    }

    fn stroke(&mut self, points: &[(i32, i32)], dashed: bool, end: &str, colour: &str) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x},{y}")).collect();
        let points = points.join(" ");
        let dash = if dashed {
            r#" stroke-dasharray="5 4""#
        } else {
            ""
        };
        self.add(format_args!(
            r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}{end}/>"#
        ));
    }

    /// A patch of the background, which makes room for a text across lines.
    pub(crate) fn patch(&mut self, Area(x, y, w, h): Area) {
        self.add(format_args!(
            r##"<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="#ffffff"/>"##
        ));
    }

    /// What is wrong: texts that overlap, leave the picture, or do not fit their rectangle.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        let all = Area(0, 0, self.width, self.height);
        for (number, (place, text)) in self.texts.iter().enumerate() {
            if !all.holds(place) {
                problems.push(format!("{text:?} leaves the picture"));
            }
            for (other, below) in &self.texts[..number] {
                if place.overlaps(other) {
                    problems.push(format!("{text:?} is upon {below:?}"));
                }
            }
        }
        problems
    }

    /// The file.
    pub(crate) fn svg(&self) -> String {
        let Self {
            width,
            height,
            title,
            items,
            ..
        } = self;
        format!(
            r##"<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-License-Identifier: GPL-2.0 OR MIT. Drawn by Documentation/pictures; do not edit. -->
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" font-family="DejaVu Sans, Verdana, Arial, sans-serif" fill="#24292f">
<title>{title}</title>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z" fill="#24292f"/></marker></defs>
<rect width="{width}" height="{height}" fill="#ffffff"/>
{items}</svg>
"##
        )
    }
}
