package main

import (
	"errors"
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

// serverFolder has the package that registers Ollama's routes.
const serverFolder = "server"

// anyMethod is the method of a route that is registered for all methods.
const anyMethod = "ANY"

// route is a route that Ollama registers. Parameters in its path are written as {name}.
type route struct {
	method, path, at string
}

func (r route) String() string { return r.method + " " + r.path }

// methods are the methods of gin's router that are named after an HTTP method.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// unreadable are the methods of gin's router that register routes in a way that this program does
// not read, and that Ollama does not use.
var unreadable = []string{"Group", "NoRoute", "Static", "StaticFile", "StaticFS"}

// routes returns the routes that Ollama registers, in the order of its source, and the places of
// registrations that cannot be read.
func (s *source) routes() (routes []route, unread []finding, err error) {
	pkg, err := s.load(serverFolder)
	if err != nil {
		return nil, nil, err
	}
	for _, file := range s.mainFileFirst(pkg.files) {
		scope := pkg.scopeOf(file)
		ast.Inspect(file, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, path, isRoute := s.registration(scope, call)
			switch at := s.at(call.Pos()); {
			case !isRoute:
			case !strings.HasPrefix(path, "/"):
				unread = append(unread, finding{status: unreadableStatus, kind: "route", what: "a registration of routes", at: at})
			case !slices.ContainsFunc(routes, func(known route) bool { return known.method == method && known.path == path }):
				routes = append(routes, route{method, path, at})
			}
			return true
		})
	}
	if len(routes) == 0 {
		return nil, nil, errors.New("found no routes in the folder " + serverFolder)
	}
	return routes, unread, nil
}

// mainFileFirst returns the files with the one of the public router first, so that the report names
// its place for a route that another file registers again.
func (s *source) mainFileFirst(files []*ast.File) []*ast.File {
	isMain := func(file *ast.File) bool { return strings.HasPrefix(s.at(file.Pos()), serverFolder+"/routes.go:") }
	main := slices.IndexFunc(files, isMain)
	if main < 0 {
		return files
	}
	return slices.Concat(files[main:main+1], files[:main], files[main+1:])
}

// registration reads a call that registers a route. The path is empty if it cannot be read.
func (s *source) registration(scope scope, call *ast.CallExpr) (method, path string, isRoute bool) {
	function, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return "", "", false
	}
	// A function of a package, such as slog.Any.
	if name, ok := function.X.(*ast.Ident); ok && scope.imports[name.Name] != "" {
		return "", "", false
	}
	name, argument := function.Sel.Name, call.Args[0]
	switch {
	case slices.Contains(methods, name):
		method = name
	case name == "Any":
		method = anyMethod
	case name == "Handle" && len(call.Args) > 2:
		if method, ok = s.text(scope, argument); !ok {
			return "", "", true
		}
		argument = call.Args[1]
	case slices.Contains(unreadable, name):
		return "", "", true
	default:
		return "", "", false
	}
	path, _ = s.text(scope, argument)
	return method, withParameters(path), true
}

// ginParameter is a parameter in gin's paths: `:name`, or `*name` for the rest of the path.
var ginParameter = regexp.MustCompile(`/[:*]([^/]+)`)

func withParameters(path string) string { return ginParameter.ReplaceAllString(path, "/{$1}") }

var parameter = regexp.MustCompile(`\{[^/]*\}`)

// isSamePath returns whether two paths differ at most in the names of their parameters.
func isSamePath(a, b string) bool {
	return parameter.ReplaceAllString(a, "{}") == parameter.ReplaceAllString(b, "{}")
}
