package main

import (
	"fmt"
	"go/ast"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// structName is a struct type of Ollama.
type structName struct {
	folder, name string
}

func (n structName) String() string { return n.folder + "." + n.name }

// field is a field of a JSON object.
type field struct {
	name, at string
}

// missingError means that Ollama has no such struct.
type missingError struct{ name structName }

func (e missingError) Error() string { return "Ollama has no struct " + e.name.String() }

// fields returns the JSON fields of a struct, as encoding/json names them.
func (s *source) fields(name structName) ([]field, error) { return s.read(name, false) }

// fieldsBelow returns the JSON fields of a struct and of all structs of Ollama that it contains.
func (s *source) fieldsBelow(name structName) ([]field, error) { return s.read(name, true) }

func (s *source) read(name structName, isDeep bool) ([]field, error) {
	pkg, err := s.load(name.folder)
	if err != nil {
		return nil, err
	}
	declared, ok := pkg.types[name.name]
	if !ok {
		return nil, missingError{name}
	}
	reader := structReader{source: s, isDeep: isDeep}
	if err := reader.read(declared); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if reader.structs == 0 {
		return nil, missingError{name}
	}
	return reader.found, nil
}

// hasDecoder returns whether a struct has a method UnmarshalJSON, which can read any fields.
func (s *source) hasDecoder(name structName) bool {
	pkg, err := s.load(name.folder)
	return err == nil && pkg.decoders[name.name]
}

// structReader collects the fields of a struct.
type structReader struct {
	source  *source
	isDeep  bool
	structs int
	seen    []ast.Expr
	found   []field
}

// read adds the fields of a declared type. A type that is no struct has none.
func (r *structReader) read(declared declaration) error {
	structure, ok := declared.expr.(*ast.StructType)
	if !ok || slices.Contains(r.seen, declared.expr) {
		return nil
	}
	r.structs++
	r.seen = append(r.seen, declared.expr)
	for _, member := range structure.Fields.List {
		tag, isSkipped, err := jsonTag(member)
		if err != nil {
			return err
		}
		switch {
		case isSkipped:
			continue
		case len(member.Names) == 0 && tag == "":
			// The fields of an embedded struct belong to the outer object.
			if err := r.follow(declared.scope, member.Type); err != nil {
				return err
			}
			continue
		case len(member.Names) == 0:
			r.add(tag, member)
		}
		for _, name := range member.Names {
			switch {
			case !name.IsExported():
			case tag == "":
				r.add(name.Name, member)
			default:
				r.add(tag, member)
			}
		}
		if r.isDeep {
			if err := r.follow(declared.scope, member.Type); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *structReader) add(name string, member *ast.Field) {
	r.found = append(r.found, field{name, r.source.at(member.Pos())})
}

// follow adds the fields of the struct that a type names or contains. Types of other modules, such
// as time.Duration, have none.
func (r *structReader) follow(scope scope, expr ast.Expr) error {
	switch expr := expr.(type) {
	case *ast.StarExpr:
		return r.follow(scope, expr.X)
	case *ast.ArrayType:
		return r.follow(scope, expr.Elt)
	case *ast.StructType:
		return r.read(declaration{scope, expr})
	case *ast.Ident:
		if declared, ok := scope.pkg.types[expr.Name]; ok {
			return r.read(declared)
		}
	case *ast.SelectorExpr:
		pkg, err := r.source.imported(scope, expr.X)
		if err != nil {
			return err
		}
		if pkg != nil {
			return r.follow(scopeOfName(pkg), expr.Sel)
		}
	}
	return nil
}

// jsonTag returns the name in the JSON tag of a member, which is empty if there is none, and whether
// encoding/json skips the member.
func jsonTag(member *ast.Field) (name string, isSkipped bool, err error) {
	if member.Tag == nil {
		return "", false, nil
	}
	text, err := strconv.Unquote(member.Tag.Value)
	if err != nil {
		return "", false, err
	}
	tag := reflect.StructTag(text).Get("json")
	name, _, _ = strings.Cut(tag, ",")
	return name, tag == "-", nil
}
