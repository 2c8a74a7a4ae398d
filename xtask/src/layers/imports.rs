//! What a source file names: modules of its own crate and other crates.

use anyhow::Result;
use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, File, ImplItemFn, Item, ItemMod, ItemUse, Macro, Path, UseTree};

/// The name of the library as main.rs, a crate of its own, calls it.
const LIBRARY: &str = "weir";

/// One name outside the module, by the first step of its path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) line: usize,
    /// A module at the root of this crate; else the name of another crate.
    pub(super) is_own_crate: bool,
    pub(super) name: String,
}

/// What `source`, the file of `module`, names.
pub(super) fn of_source(module: &[String], source: &str) -> Result<Vec<Import>> {
    let file: File = syn::parse_file(source)?;
    let mut reader = Reader {
        module: module.to_vec(),
        found: Vec::new(),
    };
    reader.visit_file(&file);
    Ok(reader.found)
}

struct Reader {
    /// Where the reader is: the file's module and the inline modules it has entered.
    module: Vec<String>,
    found: Vec<Import>,
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_test_only(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.read_use_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let segments: Vec<&Ident> = path.segments.iter().map(|segment| &segment.ident).collect();
        self.record(&segments);
        visit::visit_path(self, path);
    }

    /// `#[derive(crate::x::Y)]`, `#[serde(with = …)]`: tokens, like a macro's.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        self.visit_path(attribute.path());
        if let syn::Meta::List(list) = &attribute.meta {
            self.read_tokens(list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.visit_path(&invocation.path);
        self.read_tokens(invocation.tokens.clone());
    }
}

impl Reader {
    fn read_use_tree<'ast>(&mut self, tree: &'ast UseTree, prefix: &mut Vec<&'ast Ident>) {
        match tree {
            UseTree::Path(step) => {
                prefix.push(&step.ident);
                self.read_use_tree(&step.tree, prefix);
                prefix.pop();
            }
            UseTree::Name(leaf) => self.record_leaf(prefix, &leaf.ident),
            UseTree::Rename(leaf) => self.record_leaf(prefix, &leaf.ident),
            UseTree::Glob(_) => self.record(prefix),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.read_use_tree(tree, prefix);
                }
            }
        }
    }

    fn record_leaf(&mut self, prefix: &[&Ident], leaf: &Ident) {
        let mut path = prefix.to_vec();
        path.push(leaf);
        self.record(&path);
    }

    /// A macro's arguments need not be Rust, but paths in them look like paths.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<Ident> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.record_and_clear(&mut path);
                    }
                    path.push(ident);
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    // `crate::{a, b}` in a macro's `use`: each name in the braces ends the path.
                    self.record_and_clear(&mut path);
                    self.read_tokens(group.stream());
                    colons = 0;
                }
                _ => {
                    self.record_and_clear(&mut path);
                    colons = 0;
                }
            }
        }
        self.record_and_clear(&mut path);
    }

    fn record_and_clear(&mut self, path: &mut Vec<Ident>) {
        self.record(&path.iter().collect::<Vec<_>>());
        path.clear();
    }

    fn record(&mut self, path: &[&Ident]) {
        let Some((is_own_crate, name)) = self.resolve(path) else {
            return;
        };
        let line = path.first().map_or(0, |first| first.span().start().line);
        self.found.push(Import {
            line,
            is_own_crate,
            name,
        });
    }

    /// The first step of `path` from the crate's root, or the crate that it starts with.
    fn resolve(&self, path: &[&Ident]) -> Option<(bool, String)> {
        let (first, rest) = path.split_first()?;
        let name = first.to_string();
        match name.as_str() {
            "crate" | LIBRARY => Some((true, rest.first()?.to_string())),
            "self" => None,
            "super" => {
                let supers = path.iter().take_while(|step| **step == "super").count();
                let ancestor = self.module.len().checked_sub(supers)?;
                match self.module[..ancestor].first() {
                    // Still inside the module that this file belongs to.
                    Some(_) => None,
                    None => Some((true, path.get(supers)?.to_string())),
                }
            }
            // A lone name is a local item; a crate is named as the start of a path.
            _ => (!rest.is_empty()).then_some((false, name)),
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]`, `#[test]`. Not `not(test)` or `any(test, …)`: those can ship.
fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if attribute.path().is_ident("test") {
            return true;
        }
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg") && requires_test(list.tokens.clone())
    })
}

fn requires_test(condition: TokenStream) -> bool {
    let mut is_negated = false;
    for token in condition {
        match token {
            TokenTree::Ident(ident) if ident == "test" => return true,
            TokenTree::Ident(ident) => is_negated = ident == "not" || ident == "any",
            TokenTree::Group(group) if !is_negated && requires_test(group.stream()) => return true,
            _ => {}
        }
    }
    false
}
