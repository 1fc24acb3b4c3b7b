document.title = "Paddock";
