// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a source file of the crate declares.

use quote::ToTokens;
use std::{fs, path::Path};
use syn::parse::{Parse, ParseStream};
use syn::{
    braced, Attribute, Expr, Field, Fields, FieldsNamed, Ident, Item, ItemConst, Lit, LitInt, Meta,
    ReturnType, Token, Visibility,
};

/// A number with a name.
pub(crate) struct Constant {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) said: String,
}

/// Constants that belong together.
pub(crate) struct Group {
    /// Name of the module inside the file; empty for those of the file itself.
    pub(crate) name: String,
    pub(crate) said: String,
    pub(crate) constants: Vec<Constant>,
}

/// A message or descriptor.
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) said: String,
    pub(crate) fields: Vec<Field>,
    /// What the source says of its size, where it does.
    pub(crate) size: Option<usize>,
}

/// A file.
pub(crate) struct Module {
    pub(crate) name: String,
    /// Its paragraphs; empty lines between them, list items with their stars.
    pub(crate) said: String,
    pub(crate) groups: Vec<Group>,
    pub(crate) structs: Vec<Struct>,
    /// Modules in other files.
    pub(crate) modules: Vec<String>,
    /// Whether numbers without a word on that are big endian.
    pub(crate) big_endian: bool,
}

/// A declaration by the macro `wire!`.
struct Wire {
    attrs: Vec<Attribute>,
    name: Ident,
    size: LitInt,
    fields: Vec<Field>,
}

impl Parse for Wire {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        input.parse::<Token![struct]>()?;
        let name = input.parse()?;
        input.parse::<Token![,]>()?;
        let size = input.parse()?;
        let body;
        braced!(body in input);
        let fields = body.parse_terminated(Field::parse_named, Token![,])?;
        Ok(Self {
            attrs,
            name,
            size,
            fields: fields.into_iter().collect(),
        })
    }
}

/// The comment of an item.
pub(crate) fn said(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(lit) => match &lit.lit {
                Lit::Str(text) => Some(text.value().trim_end().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<_> = lines.collect();
    let text: Vec<_> = lines
        .iter()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    text.join("\n")
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

fn constant(item: &ItemConst) -> Option<Constant> {
    is_public(&item.vis).then(|| Constant {
        name: item.ident.to_string(),
        value: item.expr.to_token_stream().to_string(),
        said: said(&item.attrs),
    })
}

impl Group {
    fn read(name: String, said: String, items: &[Item]) -> Self {
        let constants = items.iter().filter_map(|item| match item {
            Item::Const(item) => constant(item),
            // Where something is, by a number of the caller's.
            Item::Fn(item) if is_public(&item.vis) && is_place(&item.sig.output) => {
                Some(Constant {
                    name: item.sig.ident.to_string(),
                    value: match item.block.stmts.as_slice() {
                        [syn::Stmt::Expr(value, None)] => value.to_token_stream().to_string(),
                        _ => return None,
                    },
                    said: self::said(&item.attrs),
                })
            }
            _ => None,
        });
        Self {
            name,
            said,
            constants: constants.collect(),
        }
    }
}

impl Module {
    /// Reads `src/NAME.rs`.
    pub(crate) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{name}.rs"));
        let text = fs::read_to_string(&path).unwrap();
        let file = syn::parse_file(&text).unwrap();
        let mut module = Self {
            name: name.to_owned(),
            said: said(&file.attrs),
            groups: vec![Group::read(String::new(), String::new(), &file.items)],
            structs: Vec::new(),
            modules: Vec::new(),
            big_endian: text.contains("use zerocopy::big_endian::{"),
        };
        for item in &file.items {
            match item {
                Item::Mod(item) => match &item.content {
                    Some((_, items)) if is_public(&item.vis) => {
                        let name = item.ident.to_string();
                        module
                            .groups
                            .push(Group::read(name, said(&item.attrs), items));
                    }
                    Some(_) => {}
                    None => module.modules.push(item.ident.to_string()),
                },
                Item::Macro(item) if item.mac.path.is_ident("wire") => {
                    let wire: Wire = item.mac.parse_body().unwrap();
                    module.structs.push(Struct {
                        name: wire.name.to_string(),
                        said: said(&wire.attrs),
                        fields: wire.fields,
                        size: Some(wire.size.base10_parse().unwrap()),
                    });
                }
                Item::Struct(item) if is_public(&item.vis) && is_layout(&item.attrs) => {
                    let Fields::Named(FieldsNamed { named, .. }) = &item.fields else {
                        continue;
                    };
                    module.structs.push(Struct {
                        name: item.ident.to_string(),
                        said: said(&item.attrs),
                        fields: named.iter().cloned().collect(),
                        size: None,
                    });
                }
                _ => {}
            }
        }
        module
    }
}

/// Whether it is that of a function that tells an offset.
fn is_place(output: &ReturnType) -> bool {
    matches!(output, ReturnType::Type(_, ty) if ty.to_token_stream().to_string() == "usize")
}

/// Whether it has a layout that is the same everywhere.
fn is_layout(attrs: &[Attribute]) -> bool {
    let repr = |attr: &Attribute| match &attr.meta {
        Meta::List(list) => list.path.is_ident("repr") && list.tokens.to_string() == "C",
        _ => false,
    };
    attrs.iter().any(repr)
}
