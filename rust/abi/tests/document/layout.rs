// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where the fields of messages are.

use super::source::{said, Module, Struct};
use std::collections::BTreeMap;
use syn::{Expr, Lit, Type};

/// A field in its place.
pub(crate) struct Placed {
    pub(crate) name: String,
    pub(crate) offset: usize,
    /// Such as `le32`.
    pub(crate) kind: String,
    pub(crate) said: String,
}

/// A message.
pub(crate) struct Layout {
    pub(crate) size: usize,
    pub(crate) fields: Vec<Placed>,
}

/// All messages by name.
pub(crate) struct Layouts(BTreeMap<String, Layout>);

impl Layouts {
    /// The messages of `modules`, whatever their order.
    pub(crate) fn of(modules: &[Module]) -> Self {
        let mut layouts = Self(BTreeMap::new());
        let mut left: Vec<(&Module, &Struct)> = modules
            .iter()
            .flat_map(|module| module.structs.iter().map(move |item| (module, item)))
            .collect();
        while !left.is_empty() {
            let before = left.len();
            left.retain(|(module, item)| match layouts.place(module, item) {
                Some(layout) => {
                    layouts.0.insert(item.name.clone(), layout);
                    false
                }
                None => true,
            });
            let names: Vec<_> = left.iter().map(|(_, item)| &item.name).collect();
            assert!(
                left.len() < before,
                "fields of unknown size are in {names:?}"
            );
        }
        layouts
    }

    /// The message `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Layout> {
        self.0.get(name)
    }

    fn place(&self, module: &Module, item: &Struct) -> Option<Layout> {
        let mut size = 0;
        let mut fields = Vec::new();
        for field in &item.fields {
            let (len, kind) = self.size(&field.ty, module.big_endian)?;
            let name = field.ident.as_ref()?.to_string();
            let said = said(&field.attrs);
            assert!(!said.is_empty(), "nothing is said of {}.{name}", item.name);
            fields.push(Placed {
                name,
                offset: size,
                kind,
                said,
            });
            size += len;
        }
        if let Some(wanted) = item.size {
            assert_eq!(size, wanted, "size of {}", item.name);
        }
        Some(Layout { size, fields })
    }

    /// Bytes of a type, and its name on the page; `None` for what is not known yet.
    fn size(&self, ty: &Type, big_endian: bool) -> Option<(usize, String)> {
        match ty {
            Type::Array(array) => {
                let (len, kind) = self.size(&array.elem, big_endian)?;
                let Expr::Lit(count) = &array.len else {
                    return None;
                };
                let Lit::Int(count) = &count.lit else {
                    return None;
                };
                let count: usize = count.base10_parse().ok()?;
                Some((len * count, format!("{kind}[{count}]")))
            }
            Type::Path(path) => {
                let mut words = path.path.segments.iter().rev();
                let name = words.next()?.ident.to_string();
                let big = words
                    .next()
                    .map_or(big_endian, |word| word.ident == "big_endian");
                let order = if big { "be" } else { "le" };
                match name.as_str() {
                    "u8" => Some((1, "u8".into())),
                    "U16" => Some((2, format!("{order}16"))),
                    "U32" => Some((4, format!("{order}32"))),
                    "U64" => Some((8, format!("{order}64"))),
                    _ => self.get(&name).map(|layout| (layout.size, name)),
                }
            }
            _ => None,
        }
    }
}
