package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// source is the source of Ollama. It parses a package when it is first needed, and checks no types.
type source struct {
	root     string
	files    *token.FileSet
	packages map[string]*goPackage
}

// goPackage is a package without its tests, for all platforms at once.
type goPackage struct {
	files []*ast.File
	// The declarations of the package, by name.
	types     map[string]declaration
	constants map[string]declaration
	// The types that have a method UnmarshalJSON.
	decoders map[string]bool
}

// declaration is the expression of a declared name, with the scope that its names belong to.
type declaration struct {
	scope scope
	expr  ast.Expr
}

// scope resolves names: those of the package, and those of the imports of a file.
type scope struct {
	pkg     *goPackage
	imports map[string]string
}

func newSource(root string) *source {
	return &source{root: root, files: token.NewFileSet(), packages: map[string]*goPackage{}}
}

// at returns the file, relative to Ollama's root, and the line of a position.
func (s *source) at(position token.Pos) string {
	place := s.files.Position(position)
	file, err := filepath.Rel(s.root, place.Filename)
	if err != nil {
		file = place.Filename
	}
	return fmt.Sprintf("%s:%d", filepath.ToSlash(file), place.Line)
}

// load parses the package in a folder of Ollama.
func (s *source) load(folder string) (*goPackage, error) {
	if loaded, ok := s.packages[folder]; ok {
		return loaded, nil
	}
	entries, err := os.ReadDir(filepath.Join(s.root, filepath.FromSlash(folder)))
	if err != nil {
		return nil, err
	}
	pkg := &goPackage{
		types:     map[string]declaration{},
		constants: map[string]declaration{},
		decoders:  map[string]bool{},
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(s.files, filepath.Join(s.root, filepath.FromSlash(folder), name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		pkg.add(file)
	}
	s.packages[folder] = pkg
	return pkg, nil
}

func (p *goPackage) add(file *ast.File) {
	p.files = append(p.files, file)
	scope := p.scopeOf(file)
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv != nil && decl.Name.Name == "UnmarshalJSON" {
				p.decoders[receiverName(decl)] = true
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					p.types[spec.Name.Name] = declaration{scope, spec.Type}
				case *ast.ValueSpec:
					if decl.Tok != token.CONST {
						continue
					}
					for i, value := range spec.Values {
						p.constants[spec.Names[i].Name] = declaration{scope, value}
					}
				}
			}
		}
	}
}

// scopeOf returns the scope of a file's code. The name of an import without one is the last element
// of its path, as Go's conventions have it.
func (p *goPackage) scopeOf(file *ast.File) scope {
	imports := map[string]string{}
	for _, spec := range file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(target)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imports[name] = target
	}
	return scope{p, imports}
}

func receiverName(method *ast.FuncDecl) string {
	if len(method.Recv.List) == 1 {
		if name, ok := dereference(method.Recv.List[0].Type).(*ast.Ident); ok {
			return name.Name
		}
	}
	return ""
}

func dereference(expr ast.Expr) ast.Expr {
	if pointer, ok := expr.(*ast.StarExpr); ok {
		return pointer.X
	}
	return expr
}

// imported returns the package of Ollama that a name stands for in a scope. The package is nil if
// the name is no import, or imports a package of another module.
func (s *source) imported(scope scope, name ast.Expr) (*goPackage, error) {
	identifier, ok := name.(*ast.Ident)
	if !ok {
		return nil, nil
	}
	folder, ok := strings.CutPrefix(scope.imports[identifier.Name], ollamaModule+"/")
	if !ok {
		return nil, nil
	}
	return s.load(folder)
}

// text evaluates a constant string. It returns false for an expression that it cannot evaluate.
func (s *source) text(scope scope, expr ast.Expr) (string, bool) {
	switch expr := expr.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(expr.Value)
		return text, err == nil && expr.Kind == token.STRING
	case *ast.ParenExpr:
		return s.text(scope, expr.X)
	case *ast.BinaryExpr:
		left, isLeft := s.text(scope, expr.X)
		right, isRight := s.text(scope, expr.Y)
		return left + right, isLeft && isRight && expr.Op == token.ADD
	case *ast.Ident:
		constant, ok := scope.pkg.constants[expr.Name]
		if !ok {
			return "", false
		}
		return s.text(constant.scope, constant.expr)
	case *ast.SelectorExpr:
		if name, ok := expr.X.(*ast.Ident); ok && scope.imports[name.Name] == "net/http" {
			method, isMethod := strings.CutPrefix(expr.Sel.Name, "Method")
			return strings.ToUpper(method), isMethod
		}
		pkg, err := s.imported(scope, expr.X)
		if err != nil || pkg == nil {
			return "", false
		}
		return s.text(scopeOfName(pkg), expr.Sel)
	}
	return "", false
}

// scopeOfName returns a scope for a name that another package exports.
func scopeOfName(pkg *goPackage) scope { return scope{pkg: pkg} }
