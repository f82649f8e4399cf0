/** 3D models: a still for a card, and a view that can be turned. */

import * as api from "./api.js";
import { element } from "./element.js";

const STILL = 360;
const KEPT = 60;
const TURN = Math.PI / 12;
const NEARER = 0.88;

const stills = new Map();
let drawing = Promise.resolve();

/** Returns a canvas with a model on it, or null where that cannot be drawn. */
export function still(item) {
  drawing = drawing.then(() => copyOf(item));
  return drawing;
}

/**
 * Returns `{node, close}`: a model that turns with the pointer and the arrow keys.
 * What goes wrong is told in its place.
 */
export function view(item) {
  const canvas = element("canvas", {
    tabindex: "0",
    role: "application",
    "aria-label": "3D model. Arrow keys turn it, plus and minus bring it nearer or farther.",
  });
  const node = element("div", { class: "model" }, element("p", {}, "Opening the model…"));
  let show = null;
  let closed = false;
  opened(item).then(
    ({ three, object }) => {
      if (closed) return;
      node.replaceChildren(canvas);
      show = new Show(three, canvas, object);
    },
    (error) => node.replaceChildren(element("p", {}, `The model cannot be shown: ${error.message}`)),
  );
  const close = () => {
    closed = true;
    show?.close();
  };
  return { node, close };
}

/** A stage with one model on it, drawn when something changes and never otherwise. */
class Show {
  constructor(three, canvas, object) {
    this.canvas = canvas;
    this.stage = new Stage(three, canvas);
    this.stage.put(object);
    this.controls = new three.OrbitControls(this.stage.camera, canvas);
    this.controls.addEventListener("change", () => this.draw());
    canvas.addEventListener("keydown", (event) => this.turn(event));
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(canvas);
  }

  draw() {
    const { clientWidth, clientHeight } = this.canvas;
    this.stage.draw(clientWidth, clientHeight, devicePixelRatio);
  }

  turn(event) {
    const { rotation } = this.stage.turntable;
    const { position } = this.stage.camera;
    const moves = {
      ArrowLeft: () => (rotation.y -= TURN),
      ArrowRight: () => (rotation.y += TURN),
      ArrowUp: () => (rotation.x -= TURN),
      ArrowDown: () => (rotation.x += TURN),
      "+": () => position.multiplyScalar(NEARER),
      "-": () => position.divideScalar(NEARER),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
    this.draw();
  }

  close() {
    this.watch.disconnect();
    this.controls.dispose();
    this.stage.close();
  }
}

/** Light, a camera and a turntable; the model on it is as large as the picture. */
class Stage {
  constructor(three, canvas) {
    this.three = three;
    this.renderer = new three.WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.renderer.toneMapping = three.ACESFilmicToneMapping;
    this.camera = new three.PerspectiveCamera(35, 1, 0.01, 100);
    this.camera.position.set(1.7, 1.1, 2.6);
    this.camera.lookAt(0, 0, 0);
    this.turntable = new three.Group();
    this.scene = new three.Scene();
    const maker = new three.PMREMGenerator(this.renderer);
    this.light = maker.fromScene(new three.RoomEnvironment(), 0.04);
    maker.dispose();
    this.scene.environment = this.light.texture;
    this.scene.environmentIntensity = 0.5;
    const sun = new three.DirectionalLight(0xffffff, 1.6);
    sun.position.set(2, 3, 1.5);
    this.scene.add(sun, this.turntable);
  }

  put(object) {
    const { Box3, Vector3 } = this.three;
    const box = new Box3().setFromObject(object);
    const size = box.getSize(new Vector3()).length() || 1;
    const centre = box.getCenter(new Vector3());
    const scale = 1.7 / size;
    object.scale.multiplyScalar(scale);
    object.position.sub(centre).multiplyScalar(scale);
    this.empty();
    this.turntable.add(object);
  }

  empty() {
    this.turntable.traverse(({ geometry, material }) => {
      geometry?.dispose();
      for (const each of [material ?? []].flat()) release(each);
    });
    this.turntable.clear();
  }

  draw(width, height, ratio) {
    this.camera.aspect = width / height || 1;
    this.camera.updateProjectionMatrix();
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(width, height, false);
    this.renderer.render(this.scene, this.camera);
  }

  close() {
    this.empty();
    this.light.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
  }
}

/** Gives back what a material holds on the graphics card. */
function release(material) {
  for (const value of Object.values(material)) if (value?.isTexture) value.dispose();
  material.dispose();
}

let studio = null;

async function copyOf(item) {
  const known = stills.get(item.sha256);
  if (known === null) return null;
  const drawn = known ?? (await draw(item));
  stills.delete(item.sha256);
  stills.set(item.sha256, drawn);
  if (stills.size > KEPT) stills.delete(stills.keys().next().value);
  if (drawn === null) return null;
  const copy = element("canvas", { width: STILL, height: STILL, class: "still" });
  copy.getContext("2d").drawImage(drawn, 0, 0);
  return copy;
}

/** Returns null where the browser or the model does not allow it; the card says enough. */
async function draw(item) {
  try {
    const { three, object } = await opened(item);
    studio ??= new Stage(three, element("canvas"));
    studio.put(object);
    studio.draw(STILL, STILL, 1);
    const drawn = await createImageBitmap(studio.renderer.domElement);
    studio.empty();
    return drawn;
  } catch {
    return null;
  }
}

async function opened(item) {
  const three = await import("./vendor/three/three.js");
  const data = await (await api.bytes(item)).arrayBuffer();
  return { three, object: await read(three, item, data) };
}

async function read(three, { fileName }, data) {
  if (fileName.endsWith(".stl")) {
    const material = new three.MeshStandardMaterial({ color: 0xb8bcc8 });
    return new three.Mesh(new three.STLLoader().parse(data), material);
  }
  if (fileName.endsWith(".obj"))
    return new three.OBJLoader().parse(new TextDecoder().decode(data));
  if (!/\.gl(b|tf)$/.test(fileName)) throw new Error("no viewer knows this format.");
  const loader = new three.GLTFLoader();
  // Its own way to read a texture asks for a blob: address, which the page may not.
  loader.register((parser) => {
    parser.textureLoader = new three.TextureLoader(parser.options.manager);
    return { name: "pictures as elements" };
  });
  return (await loader.parseAsync(data, "")).scene;
}
